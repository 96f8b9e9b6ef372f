"""Recognise logins in log lines: bytes in, events out, no I/O, the clock an argument.

`Options` says how the lines of a source are read, `Recogniser` reads them, `detect` tells the
framing of a file, `FORMATS` and `shapes.SHAPES` are the tables of what is known, and `REASONS`
explains every reason word. See recogniser.py for what is promised, servers/dovecot.py for the limits.
"""

from __future__ import annotations

from popauthd.formats.framing import detect
from popauthd.formats.headers import FRAMINGS
from popauthd.formats.options import Options
from popauthd.formats.reasons import REASONS
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.formats.servers import FORMATS

__all__ = ["FORMATS", "FRAMINGS", "LINE_BYTES", "REASONS", "Options", "Recogniser", "detect"]
