"""Proves the installed system: a table of checks, each one line with what to do if it fails."""

from popauthd.doctor.table import examine
from popauthd.doctor.visit import FAIL, OK, SKIP, Paths, Result, Visit

__all__ = ["FAIL", "OK", "SKIP", "Paths", "Result", "Visit", "examine"]
