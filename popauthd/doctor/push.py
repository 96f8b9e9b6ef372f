"""The check of the push sources: can Dovecot tell popauthd of logins?

The doctor tells of no login: it sends the post-login socket a message without one, and asks the auth policy server.
"""

from __future__ import annotations

import http.client
import json
import os

from popauthd import accounts
from popauthd.as_user import LookError, exchange, look, look_in, may_become, modes_and_reason
from popauthd.config import Config
from popauthd.doctor.verdicts import Verdict, Verdicts, fail, ok, skip
from popauthd.sources.push.auth_policy import SECRET_HEADER, place, read_secret
from popauthd.sources.push.messages import ASK, HEARD
from popauthd.text import safe

SECONDS = 10.0
DROP_IN = "/usr/share/doc/popauthd/examples/auth-policy.conf"


def push(config: Config) -> Verdicts:
    """Each push source that is configured."""
    if not config.pushed:
        yield ok("not configured, logins come from a log")
    if config.post_login:
        for name in config.push_users or ("root",):
            yield _script(config, name)
    if config.auth_policy_listen:
        yield _policy(config)


def _script(config: Config, name: str) -> Verdict:
    """Whether the post-login script is heard, run as a user and in the group that the snippet gives it."""
    path, group = config.push_path, config.group
    user, gid = accounts.user(name), accounts.group_id(group)
    if user is None or gid is None:
        return fail(f"there is no user {name}, or no group {group}", "correct push_users, or group")
    account = user._replace(groups=(gid,))
    if not may_become(account):
        return skip(f"only root can ask as {name}; run this as root")
    try:
        answer = look(account, lambda: _answer(path))
    except LookError as error:
        advice = f"restart popauthd; in Dovecot the script's service needs extra_groups = {group}"
        return fail(f"{name} cannot tell of logins on {modes_and_reason(path, error)}", advice)
    if answer.encode() != HEARD:
        said = f"is answered {answer!r}" if answer else "is cut off"
        return fail(f"{name} {said} on {path}: it is not heard", "restart popauthd, for push_users to be read")
    return ok(f"{name} is heard on {path}")


def _answer(path: str) -> str:
    """The reply to a client that only asks whether it is heard, "" if its connection is cut. Raises OSError."""
    try:
        return exchange(path, ASK)
    except (BrokenPipeError, ConnectionResetError):  # before or behind our message
        return ""


def _policy(config: Config) -> Verdict:
    """Whether popauthd listens there, and knows the secret that is in the file."""
    where = config.auth_policy_listen
    try:
        status, said = _asked(where, _secret(config.auth_policy_secret_file))
    except LookError as error:
        if os.geteuid() != 0 and "Permission denied" in str(error):
            return skip(f"{error}; run this as root")
        return fail(str(error), "then restart popauthd")
    except ConnectionRefusedError:
        return fail(f"nobody listens on {where}", f"restart popauthd; as a service it needs the drop-in {DROP_IN}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return fail(f"on {where} it is not popauthd that answers: {safe(str(error), 200)}", _who(where))
    if (status, said) == (200, "continue"):
        return ok(f"answers on {where}, and knows the secret")
    if status == 403:
        return fail(f"on {where} another secret is known than that of the file", "restart popauthd")
    return fail(f"on {where} it is not popauthd that answers: {status}, {safe(said, 200)}", _who(where))


def _secret(path: str) -> bytes:
    """The secret, read as the owner of its directory. Raises LookError."""
    directory, name = os.path.split(path)
    try:
        return look_in(directory or ".", lambda: [read_secret(name).decode("ascii")]).encode("ascii")
    except LookError as error:
        raise LookError(
            str(error).replace(f"auth_policy_secret_file {name}:", f"auth_policy_secret_file {path}:", 1)
        ) from error


def _who(where: str) -> str:
    return f"see who listens there: ss -ltnp sport = :{place(where)[1]}"


def _asked(where: str, secret: bytes) -> tuple[int, str]:
    """Status and message of the answer to the question whether a login may go on, which it always may."""
    connection = http.client.HTTPConnection(*place(where), timeout=SECONDS)
    try:
        connection.request("POST", "/?command=allow", b"{}", {SECRET_HEADER: secret.decode(), "Connection": "close"})
        reply = connection.getresponse()
        body = reply.read(4096)
    finally:
        connection.close()
    told = json.loads(body) if reply.status == 200 else {}
    return reply.status, str(told.get("msg", "")) if isinstance(told, dict) else ""
