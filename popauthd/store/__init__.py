"""What is kept on disk: the private books, and what is made from them for Exim, the relay map and the host list."""
