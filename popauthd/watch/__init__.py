"""The watcher: takes events in, enters them into the books, and publishes what follows. The one writer."""
