"""Proves the installed system: a table of checks, each one line with what to do if it fails."""

from popauthd.doctor.context import FAIL, OK, SKIP, Paths, Result, Visit
from popauthd.doctor.table import examine

__all__ = ["FAIL", "OK", "SKIP", "Paths", "Result", "Visit", "examine"]
