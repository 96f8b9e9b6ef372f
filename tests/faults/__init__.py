"""Faults: rotation, crashes, damaged files."""
