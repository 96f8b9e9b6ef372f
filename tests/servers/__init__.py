"""Real mail servers on loopback, for the system tests and the demo (standard library only, no pytest).

    with Place() as place:
        dovecot = Dovecot(place)
        exim = Exim(place, "light", "socket", place.root / "run")

A Place is a temporary directory and everything that runs in it; when it is closed, or its process
dies in whatever way, all that was started is killed and the directory removed. Needs root: Dovecot
and Exim change users. Nothing of the machine's own Dovecot or Exim is read, written or signalled.
"""
