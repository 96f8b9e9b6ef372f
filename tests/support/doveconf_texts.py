"""What `doveconf -n` prints, in parts, and popauthd's side of it."""

from __future__ import annotations

from popauthd.config import SourceConfig
from popauthd.dovecotcheck import Configuration, World, read

LOG = "/var/log/dovecot-info.log"
OLD = "# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\n# OS: Linux\n"
NEW = "# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\n# OS: Linux\ndovecot_config_version = 2.4.1\n"
FILE = f"info_log_path = {LOG}\n"
FOLLOWED = World((SourceConfig(path=LOG),))


def configuration(text: str) -> Configuration:
    found = read(text)
    assert found is not None
    return found
