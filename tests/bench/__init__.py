"""Measurements: each file is a command of its own and prints what it found."""
