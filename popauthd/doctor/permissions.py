"""The checks of what Exim's user sees: run_dir, map, socket, host list and the readlookup script."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from popauthd.as_user import LookError, account_of, ask_socket, look, may_become, modes, read_plain
from popauthd.control_client import plain_map_expiry
from popauthd.doctor.context import Verdict, Visit, fail, ok, skip
from popauthd.doctor.daemons import NOBODY

SCRIPT_SECONDS = 20
LIST_BYTES = 256 << 20  # 5 million addresses
_LISTED = re.compile(r'(?:([0-9.]+)|"([0-9a-f:.]+(?:/64)?)"): ([0-9]{1,12})')


def exim_user(visit: Visit) -> Iterator[Verdict]:
    """Who asks: the user of the configured group."""
    group = visit.config.group
    try:
        account = account_of(group)
    except LookError as error:
        yield fail(f"{error}: is Exim installed?", "install Exim, or name the group that it runs as: group = ...")
        return
    if not may_become(account):
        yield skip(f"only root can look as {account.name}; run this as root")
        return
    visit.exim_user = account
    yield ok(f"{account.name} (uid {account.uid}, gid {account.gid})")


def _advice(visit: Visit) -> str:
    return f"is group = {visit.config.group!r} the one Exim runs as? Then: systemctl restart popauthd popauthd-lookup"


def _seen(visit: Visit, path: str, question: Callable[[], str], *, writable: bool = False) -> Verdict:
    """What Exim's user sees of a path; it must not be able to write there, but into a socket."""

    def whole() -> str:
        answer = question()
        if not writable and os.access(path, os.W_OK):
            raise LookError("it can be written")
        return answer

    try:
        return ok(f"{visit.user.name} {look(visit.user, whole)}")
    except LookError as error:
        return fail(f"{visit.user.name} looks at {modes(path)}: {error}", _advice(visit))


def run_dir(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim's user can go in, and not write."""
    path = visit.config.run_dir

    def question() -> str:
        if not os.access(path, os.X_OK):
            raise LookError("it cannot be entered")
        return f"can enter {path}, and cannot write there"

    yield _seen(visit, path, question)


def relay_map(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim's user can read the map."""
    path = visit.config.map_path

    def question() -> str:
        plain_map_expiry(path, NOBODY)
        return f"reads {path}"

    yield _seen(visit, path, question)


def lookup_socket(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim's user can ask the responder."""
    path = visit.config.lookup_path

    def question() -> str:
        answer = ask_socket(path, NOBODY)
        if answer not in ("yes", "no"):
            raise LookError(f"the answer is {answer!r}")
        return f"is answered on {path}"

    yield _seen(visit, path, question, writable=True)


def host_list(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim's user can read the host list, and all of it is understood."""
    path = visit.config.host_list_path
    if not visit.config.host_list:
        yield skip("host_list = false")
        return

    def question() -> str:
        return f"reads {path}, {len(listed(path))} address(es)"

    yield _seen(visit, path, question)


def listed(path: str) -> dict[str, int]:
    """What the host list says: address -> expiry. Raises OSError, or LookError on a line that is none."""
    found = {}
    for line in read_plain(path, LIST_BYTES).decode("ascii", "backslashreplace").splitlines():
        entry = _LISTED.fullmatch(line)
        if entry is None:
            raise LookError(f"the line {line[:80]!r} is none of a host list")
        found[entry[1] or entry[2]] = int(entry[3])
    return found


def readlookup(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim's user can run the script."""
    script = visit.paths.readlookup
    if not Path(script).exists():
        yield skip(f"{script} is not installed")
        return
    try:
        yield ok(f"{visit.user.name} runs {script}, which says {run_script(visit, NOBODY)}")
    except LookError as error:
        advice = "make it and its directories readable and executable for all, or install the package again"
        yield fail(f"{visit.user.name} runs {modes(script)}: {error}", advice)


def run_script(visit: Visit, address: str) -> str:
    """What the script tells Exim's user. Raises LookError."""
    us = os.geteuid() == 0
    try:
        done = subprocess.run(
            [visit.paths.readlookup, "--map", visit.config.map_path, address],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SCRIPT_SECONDS,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            user=visit.user.uid if us else None,
            group=visit.user.gid if us else None,
            extra_groups=[] if us else None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LookError(str(getattr(error, "strerror", None) or error)) from error
    answer = done.stdout.decode("ascii", "backslashreplace")
    if (answer, done.returncode) not in (("yes\n", 0), ("no\n", 1)) or done.stderr:
        raise LookError(f"it prints {answer[:80]!r}, exit code {done.returncode}")
    return answer.strip()
