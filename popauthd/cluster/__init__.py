"""Several nodes: a login on any of them opens the relay on all. What travels, how it is signed, and by which way."""
