"""Recognise logins in log lines: bytes in, events out, no I/O, the clock an argument.

`options` says how the lines of a source are read, `recogniser` reads them, `framing` tells the framing of a file.
`servers` and `headers` are the tables of what is known, and `reasons` explains every reason word. See recogniser.py
for what is promised, servers/dovecot.py for the limits.
"""
