"""Recognise logins in log lines: bytes in, events out, no I/O, the clock an argument.

`options` says how the lines of a source are read, `recogniser` reads them, and `framing` finds the framing of a file.
`servers` is the table of the servers and `headers` the table of what can stand before a message. popauthd/reasons.py
explains every reason word. recogniser.py says what is promised, servers/dovecot.py what the limits are.
"""
