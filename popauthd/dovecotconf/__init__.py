"""What Dovecot's own configuration means for popauthd: `doveconf -n` read, and judged by a table of checks.

Pure: a text and what is known of the machine in, findings out.
"""

from popauthd.dovecotconf.findings import SEVERITIES, Finding, Journal, World
from popauthd.dovecotconf.judging import CHECKS, judge
from popauthd.dovecotconf.reading import Configuration, read

__all__ = ["CHECKS", "SEVERITIES", "Configuration", "Finding", "Journal", "World", "judge", "read"]
