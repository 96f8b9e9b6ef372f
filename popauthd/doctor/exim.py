"""The checks of Exim: is it here, does its configuration ask popauthd, and which way."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from popauthd.as_user import LookError, look, modes, read_plain
from popauthd.doctor.context import Verdict, Visit, fail, ok, skip
from popauthd.eximsetup import unfinished
from popauthd.eximsetup.site import Site
from popauthd.text import safe

ACL_BYTES = 1 << 20
SECONDS = 120  # a session may wait for name servers that do not answer
PUT_IN = "put it in: popauthctl exim enable (or by hand, see exim/README.md, and reload Exim)"
# How an ACL asks, and where: the recipes of exim/.
WAYS = {
    "socket": re.compile(r"\$\{readsocket\s*\{([^{}\s]+)\}"),
    "readlookup": re.compile(r"\$\{run(?:,[a-z]+)*\s*\{(?:\S+/python3 (?:-\S+ )*)?(\S*readlookup)\b"),
    "hostlist": re.compile(r"iplsearch\{([^{}\s]+)\}|net-iplsearch;(\S+)"),
}
NAMES = ("/lookup.sock", "/readlookup", "/relay-hosts")
# Never tried: nothing is sent in a session that `-bh` plays.
HELO = "popauthd-doctor.example.org"
SENDER, RECIPIENT = "popauthd-doctor@example.org", "popauthd-doctor@example.com"
SESSION = f"EHLO {HELO}\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nQUIT\r\n"


def command(visit: Visit, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run Exim. Raises LookError if that is impossible."""
    chosen = ["-C", visit.paths.exim_config] if visit.paths.exim_config else []
    words: Sequence[str] = [visit.paths.exim, *chosen, *arguments]
    try:
        return subprocess.run(
            words,
            input=text,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=SECONDS,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LookError(f"{visit.paths.exim}: {getattr(error, 'strerror', None) or error}") from error


def play(visit: Visit, address: str) -> str:
    """What a client at that address reads after RCPT for a stranger's recipient, by `exim -bh`. Raises LookError."""
    done = command(visit, "-bh", address, text=SESSION)
    replies = [line for line in done.stdout.splitlines() if re.match(r"[2-5][0-9][0-9] ", line)]
    if len(replies) < 4:
        said = replies[-1] if replies else (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LookError(f"the session ended before RCPT: {safe(said, 200)}")
    return replies[3]


def installed(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim is here, and can read its configuration."""
    if not Path(visit.paths.exim).exists():
        yield fail(f"there is no {visit.paths.exim}: Exim is not installed", "install exim4-daemon-light or -heavy")
        return
    try:
        done = command(visit, "-bV")
    except LookError as error:
        yield fail(str(error), "install Exim again")
        return
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["nothing"]
        yield fail(f"exim -bV says: {safe(said[-1], 200)}", "repair Exim's configuration")
        return
    version = re.search(r"Exim version (\S+)", done.stdout)
    built = re.search(r"(?m)^Configuration file (?:is|search path is) (\S+)", done.stdout)
    where = f", configuration {built[1]}" if built else ""
    yield ok(f"version {version[1] if version else 'unknown'}{where}")


def acl(visit: Visit) -> Iterator[Verdict]:
    """Whether the configuration in force asks popauthd, which way, and where popauthd is."""
    if os.geteuid() != 0:
        yield skip("Exim shows its configuration to root; run this as root")
        return
    if cut := unfinished.told(Site(acl_file=Path(visit.paths.exim_acl))):
        yield fail(cut, "repeat the one that you want; if it is under way, wait for it")
        return
    try:
        setting = command(visit, "-bP", "acl_smtp_rcpt").stdout
        whole = command(visit, "-bP", "config").stdout
        way, place, where = _asked(visit, setting, _acl_section(whole))
    except LookError as error:
        yield fail(str(error), PUT_IN)
        return
    visit.way = way
    ours = _ours(visit)[way]
    if place != ours:
        yield fail(f"{where} asks {place}, but popauthd's is {ours}", f"correct run_dir, or the path in {where}")
    elif way == "hostlist" and not visit.config.host_list:
        yield fail(f"{where} reads the host list, and host_list = false", "set host_list = true and restart popauthd")
    else:
        yield ok(f"{where} is in force and asks {place}")


def _ours(visit: Visit) -> dict[str, str]:
    """Where popauthd answers, by way."""
    return {
        "socket": visit.config.lookup_path,
        "readlookup": visit.paths.readlookup,
        "hostlist": visit.config.host_list_path,
    }


def _acl_section(whole: str) -> str:
    """The ACLs of a configuration; macros that nothing uses stand in front of them."""
    return re.split(r"(?m)^\s*begin\s+", whole.partition("begin acl")[2])[0]


def _asked(visit: Visit, setting: str, acls: str) -> tuple[str, str, str]:
    """(way, path, file) by which Exim asks popauthd. Raises LookError if it does not."""
    gone = ""
    # LIMIT: ACLs are taken for in force because they are there; the sessions that follow show what Exim does.
    for path in dict.fromkeys(re.findall(r"(?:acl\s*=\s*|exists\{)(/[^\s{}\\]+)", f"{setting}\n{acls}")):
        try:
            text = look(visit.exim_user, lambda path=path: _text(path))  # type: ignore[misc]
        except LookError as error:
            if path in setting:  # the very file that decides; others, Debian's own among them, may be missing
                gone = gone or f"Exim cannot read {modes(path)}: {error}"
            continue
        if found := way_of(visit, text):
            return (*found, path)
    if found := way_of(visit, acls):
        return (*found, "Exim's configuration")
    raise LookError(gone or f"Exim does not ask popauthd: {safe(setting.strip(), 200) or 'no ACL'}")


def _text(path: str) -> str:
    return read_plain(path, ACL_BYTES).decode("utf-8", "replace")


def way_of(visit: Visit, text: str) -> tuple[str, str] | None:
    """The way in an ACL that asks where popauthd answers, else one that asks something with our names."""
    code = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    found = [(way, next(filter(None, match.groups()))) for way, form in WAYS.items() for match in form.finditer(code)]
    right = [one for one in found if one in _ours(visit).items()]
    named = [one for one in found if one[1].endswith(NAMES)]
    return next(iter([*right, *named]), None)
