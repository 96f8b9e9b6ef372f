"""Clean Debian systems below a directory, and the package in them, for the tests of the package.

    with Root("trixie") as root:
        root.install(of_release("trixie", directory))
        watcher = Service(root, "popauthd.service")

A Root is a minimal Debian with its own Exim and Dovecot, in namespaces of its own: a network where the usual
ports are free and documentation addresses are the machine's, and processes that end with it. Needs root. There is
no systemd in it to start anything: `units` does what its unit files say. What only systemd does is tried on a
`machine` that boots.
"""
