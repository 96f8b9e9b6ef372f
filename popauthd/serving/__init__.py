"""Small socket servers in one loop: accepting connections, and clients that take turns."""
