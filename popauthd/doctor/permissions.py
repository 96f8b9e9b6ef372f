"""The checks of what Exim's user sees: run_dir, map, socket, host list and the readlookup script."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from popauthd.accounts import Account, NoAccountError, user_of_group
from popauthd.as_user import LookError, ask_socket, look, may_become, modes_and_reason, read_plain
from popauthd.config import Config
from popauthd.control_client import NOBODY, plain_map_expiries
from popauthd.doctor.verdicts import Learning, Verdict, Verdicts, fail, ok, skip

SCRIPT_SECONDS = 20
LIST_BYTES = 256 << 20  # 5 million addresses
_LISTED = re.compile(r'(?:([0-9.]+)|"([0-9a-f:.]+(?:/64)?)"): ([0-9]{1,12})')


def exim_user(group: str) -> Learning[Account]:
    """Who asks: the user of the configured group. Learns the user."""
    try:
        account = user_of_group(group)
    except NoAccountError as error:
        yield fail(f"{error}: is Exim installed?", "install Exim, or name the group that it runs as: group = ...")
        return None
    if not may_become(account):
        yield skip(f"only root can look as {account.name}; run this as root")
        return None
    yield ok(f"{account.name} (uid {account.uid}, gid {account.gid})")
    return account


def _advice(group: str) -> str:
    return f"is group = {group!r} the one Exim runs as? Then: systemctl restart popauthd popauthd-lookup"


def _seen(user: Account, group: str, path: str, question: Callable[[], str], *, writable: bool = False) -> Verdict:
    """What Exim's user sees of a path; it must not be able to write there, but into a socket."""

    def whole() -> str:
        answer = question()
        if not writable and os.access(path, os.W_OK):
            raise LookError("it can be written")
        return answer

    try:
        return ok(f"{user.name} {look(user, whole)}")
    except LookError as error:
        return fail(f"{user.name} looks at {modes_and_reason(path, error)}", _advice(group))


def run_dir(user: Account, config: Config) -> Verdicts:
    """Whether Exim's user can go in, and not write."""
    path = config.run_dir

    def question() -> str:
        if not os.access(path, os.X_OK):
            raise LookError("it cannot be entered")
        return f"can enter {path}, and cannot write there"

    yield _seen(user, config.group, path, question)


def relay_map(user: Account, config: Config) -> Verdicts:
    """Whether Exim's user can read the map."""
    path = config.map_path

    def question() -> str:
        plain_map_expiries(path, [NOBODY])
        return f"reads {path}"

    yield _seen(user, config.group, path, question)


def lookup_socket(user: Account, config: Config) -> Verdicts:
    """Whether Exim's user can ask the responder."""
    path = config.lookup_path

    def question() -> str:
        answer = ask_socket(path, NOBODY)
        if answer not in ("yes", "no"):
            raise LookError(f"the answer is {answer!r}")
        return f"is answered on {path}"

    yield _seen(user, config.group, path, question, writable=True)


def host_list(user: Account, config: Config) -> Verdicts:
    """Whether Exim's user can read the host list, and all of it is understood."""
    path = config.host_list_path
    if not config.host_list:
        yield skip("host_list = false")
        return

    def question() -> str:
        return f"reads {path}, {len(listed(path))} address(es)"

    yield _seen(user, config.group, path, question)


def listed(path: str) -> dict[str, int]:
    """What the host list says: address -> expiry. Raises OSError, or LookError if a line is not understood."""
    found = {}
    for line in read_plain(path, LIST_BYTES).decode("ascii", "backslashreplace").splitlines():
        entry = _LISTED.fullmatch(line)
        if entry is None:
            raise LookError(f"the line {line[:80]!r} is none of a host list")
        found[entry[1] or entry[2]] = int(entry[3])
    return found


def readlookup(user: Account, script: str, map_path: str) -> Verdicts:
    """Whether Exim's user can run the script."""
    if not Path(script).exists():
        yield skip(f"{script} is not installed")
        return
    try:
        yield ok(f"{user.name} runs {script}, which says {run_script(user, script, map_path, NOBODY)}")
    except LookError as error:
        advice = "make it and its directories readable and executable for all, or install the package again"
        yield fail(f"{user.name} runs {modes_and_reason(script, error)}", advice)


def run_script(user: Account, script: str, map_path: str, address: str) -> str:
    """What the script tells Exim's user. Raises LookError."""
    us = os.geteuid() == 0
    try:
        done = subprocess.run(
            [script, "--map", map_path, address],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SCRIPT_SECONDS,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            user=user.uid if us else None,
            group=user.gid if us else None,
            extra_groups=[] if us else None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LookError(str(getattr(error, "strerror", None) or error)) from error
    answer = done.stdout.decode("ascii", "backslashreplace")
    if (answer, done.returncode) not in (("yes\n", 0), ("no\n", 1)) or done.stderr:
        raise LookError(f"it prints {answer[:80]!r}, exit code {done.returncode}")
    return answer.strip()
