"""The checks of Exim: is it here, does its configuration ask popauthd, and which way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from popauthd.accounts import Account
from popauthd.as_user import LookError, look, modes_and_reason, read_plain
from popauthd.config import Config
from popauthd.doctor.verdicts import Learning, Verdicts, fail, ok, skip
from popauthd.errors import ConfigError
from popauthd.eximsetup import undo
from popauthd.eximsetup.commands import Envelope, Exim
from popauthd.eximsetup.site import Site
from popauthd.text import safe

ACL_BYTES = 1 << 20
PUT_IN = "put it in: popauthctl exim enable (or by hand, see exim/README.md, and reload Exim)"
# How an ACL asks, and where: the recipes of exim/.
WAYS = {
    "socket": re.compile(r"\$\{readsocket\s*\{([^{}\s]+)\}"),
    "readlookup": re.compile(r"\$\{run(?:,[a-z]+)*\s*\{(?:\S+/python3 (?:-\S+ )*)?(\S*readlookup)\b"),
    "hostlist": re.compile(r"iplsearch\{([^{}\s]+)\}|net-iplsearch;(\S+)"),
}
NAMES = ("/lookup.sock", "/readlookup", "/relay-hosts")
# Of the sessions that are played; nothing is ever sent.
ENVELOPE = Envelope("popauthd-doctor.example.org", "popauthd-doctor@example.org", "popauthd-doctor@example.com")


def installed(exim: Exim, config: Config | None = None) -> Verdicts:
    """Whether Exim is here, and can read its configuration. config: None if it is not known."""
    if not Path(exim.program).exists() and config is not None and config.cluster is not None:
        yield skip("Exim is not installed; the other nodes of the cluster relay for who logs in here")
        return
    if not Path(exim.program).exists():
        yield fail(f"there is no {exim.program}: Exim is not installed", "install exim4-daemon-light or -heavy")
        return
    try:
        done = exim.run("-bV")
    except ConfigError as error:
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


def places(config: Config, readlookup: str) -> dict[str, str]:
    """Where popauthd answers, by way."""
    return {"socket": config.lookup_path, "readlookup": readlookup, "hostlist": config.host_list_path}


def acl(exim: Exim, acl_file: str, ours: Mapping[str, str], config: Config, user: Account | None) -> Learning[str]:
    """Whether the configuration in force asks popauthd, which way, and where popauthd is. Learns the way.

    acl_file: what `popauthctl exim enable` writes. ours: the `places`. user: by whose rights Exim reads its files, None
    for our own.
    """
    if os.geteuid() != 0:
        yield skip("Exim shows its configuration to root; run this as root")
        return None
    if cut := undo.told(Site(acl_file=Path(acl_file))):
        yield fail(cut, "repeat the one that you want; if it is under way, wait for it")
        return None
    try:
        setting = exim.run("-bP", "acl_smtp_rcpt").stdout
        whole = exim.run("-bP", "config").stdout
        way, place, where = _asked(setting, _acl_section(whole), ours, user)
    except (LookError, ConfigError) as error:
        yield fail(str(error), PUT_IN)
        return None
    if place != ours[way]:
        yield fail(f"{where} asks {place}, but popauthd's is {ours[way]}", f"correct run_dir, or the path in {where}")
    elif way == "hostlist" and not config.host_list:
        yield fail(f"{where} reads the host list, and host_list = false", "set host_list = true and restart popauthd")
    else:
        yield ok(f"{where} is in force and asks {place}")
    return way


def _acl_section(whole: str) -> str:
    """The ACLs of a configuration; macros that nothing uses stand in front of them."""
    return re.split(r"(?m)^\s*begin\s+", whole.partition("begin acl")[2])[0]


def _asked(setting: str, acls: str, ours: Mapping[str, str], user: Account | None) -> tuple[str, str, str]:
    """(way, path, file) by which Exim asks popauthd. Raises LookError if it does not."""
    gone = ""
    # LIMIT: ACLs are taken for in force because they are there; the sessions that follow show what Exim does.
    for path in dict.fromkeys(re.findall(r"(?:acl\s*=\s*|exists\{)(/[^\s{}\\]+)", f"{setting}\n{acls}")):
        try:
            text = look(user, lambda path=path: _text(path))  # type: ignore[misc]
        except LookError as error:
            if path in setting:  # the very file that decides; others, Debian's own among them, may be missing
                gone = gone or f"Exim cannot read {modes_and_reason(path, error)}"
            continue
        if found := way_of(ours, text):
            return (*found, path)
    if found := way_of(ours, acls):
        return (*found, "Exim's configuration")
    raise LookError(gone or f"Exim does not ask popauthd: {safe(setting.strip(), 200) or 'no ACL'}")


def _text(path: str) -> str:
    return read_plain(path, ACL_BYTES).decode("utf-8", "replace")


def way_of(ours: Mapping[str, str], text: str) -> tuple[str, str] | None:
    """The way in an ACL that asks where popauthd answers, else one that asks something with our names."""
    code = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    found = [(way, next(filter(None, match.groups()))) for way, form in WAYS.items() for match in form.finditer(code)]
    right = [one for one in found if one in ours.items()]
    named = [one for one in found if one[1].endswith(NAMES)]
    return next(iter([*right, *named]), None)
