"""The snippets of dovecot/ that push logins, for a Dovecot of the tests: their text with our paths for the system's."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.servers.dovecot import branch
from tests.servers.exim import TREE, replaced
from tests.servers.place import Place, lend, listens

SECRET = "0123456789abcdef-secret"


def post_login(place: Place, socket: Path, user: str = "dovecot") -> str:
    """The post-login snippet, telling on `socket` as `user`."""
    script = lend(TREE / "dovecot/post-login", place.root / "post-login")
    text = (TREE / f"dovecot/popauthd-post-login-{branch()}.conf").read_text()
    pairs = [("/usr/lib/popauthd/post-login", f"{script} --socket {socket}"), ("user = dovecot", f"user = {user}")]
    return replaced(text, pairs)


def auth_policy(place: Place, port: int) -> str:
    """The auth policy snippet, telling on `port`, with SECRET in a file of its own."""
    secret = place.root / "dovecot-secret.conf"
    secret.write_text(f"auth_policy_server_api_header = X-API-Key:{SECRET}\n")
    secret.chmod(0o600)
    text = (TREE / f"dovecot/popauthd-auth-policy-{branch()}.conf").read_text()
    return replaced(
        text, [("127.0.0.1:4001/", f"127.0.0.1:{port}/"), ("/etc/dovecot/popauthd-secret.conf", str(secret))]
    )


def listening(snippet: str) -> bool:
    """Whether something listens where the snippet's Dovecot will tell of logins."""
    if port := re.search(r"http://127\.0\.0\.1:([0-9]+)/", snippet):
        return listens("127.0.0.1", int(port[1]))
    told_on = re.search(r"--socket (\S+)", snippet)
    assert told_on
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(told_on[1]) == 0


def secret_file(place: Place) -> Path:
    """popauthd's own file with SECRET."""
    path = place.root / "popauthd-secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path
