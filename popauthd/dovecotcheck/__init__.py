"""What Dovecot's own configuration means for popauthd: `doveconf -n` read, and judged by a table of checks.

Pure: a text and what is known of the machine in, findings out.
"""

from popauthd.dovecotcheck.doveconf import Configuration, read
from popauthd.dovecotcheck.findings import SEVERITIES, Finding, Journal, Seen, World
from popauthd.dovecotcheck.judging import CHECKS, judge

__all__ = ["CHECKS", "SEVERITIES", "Configuration", "Finding", "Journal", "Seen", "World", "judge", "read"]
