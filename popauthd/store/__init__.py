"""What is kept on disk: the private books, and what is published from them: the relay map and the host list."""
