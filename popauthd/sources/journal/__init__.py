"""Follows the systemd journal.

`reader` reads the journal itself, `json_lines` what journalctl exports, and `source` hands out blocks of records.
"""
