"""Proves the installed system: a list of checks, each one line with what to do if it fails."""

from popauthd.doctor.checks import Paths, examine
from popauthd.doctor.verdicts import FAIL, OK, SKIP, WARN, Result

__all__ = ["FAIL", "OK", "SKIP", "WARN", "Paths", "Result", "examine"]
