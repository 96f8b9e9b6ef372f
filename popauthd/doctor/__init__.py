"""Proves the installed system: a table of checks, each one line with what to do."""
