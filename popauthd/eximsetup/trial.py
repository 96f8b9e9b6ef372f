"""Builds a configuration aside and plays sessions with it: nothing is sent, and no file of Exim's is changed.

A session is a client's address and a recipient; what Exim says to RCPT is compared between the configuration
as it is and as it would be.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from popauthd.accounts import give_to_group
from popauthd.as_user import read_plain
from popauthd.errors import ConfigError
from popauthd.eximsetup import own_acl
from popauthd.eximsetup.commands import Envelope, Exim, must
from popauthd.eximsetup.plan import Wanted
from popauthd.eximsetup.relaying import HELO, REMOTE, SENDER, Proof, prove
from popauthd.eximsetup.site import EXIM_GROUP, FILE_BYTES, Site

STRANGERS = ("192.0.2.77", "2001:db8::77")  # RFC 5737 and 3849: nobody has them
DEBIANS_ACL = "acl_check_rcpt"


@dataclass(frozen=True, slots=True)
class Case:
    """One session. relays: whether it is a stranger who must not relay."""

    label: str
    client: str
    to: str
    stranger: bool = False


def cases(site: Site) -> list[Case]:
    """The sessions that show what a configuration accepts."""
    settings = site.settings()
    found = [Case(f"a stranger ({client}) relays", client, REMOTE, stranger=True) for client in STRANGERS]
    domains = [word for word in _words(settings.get("dc_other_hostnames", "")) if word not in ("*", "localhost")]
    found += [Case(f"a stranger writes to {domain}", STRANGERS[0], f"postmaster@{domain}") for domain in domains[:1]]
    for net in _words(settings.get("dc_relay_nets", ""))[:3]:
        with contextlib.suppress(ValueError):
            client = str(ipaddress.ip_network(net, strict=False)[1 if "/" in net else 0])
            found.append(Case(f"a host of dc_relay_nets ({client}) relays", client, REMOTE))
    found.append(Case("this machine relays", "127.0.0.1", REMOTE))
    return found


def _words(text: str) -> list[str]:
    """A list as debconf keeps it: `;` between the items, or `:` where no IPv6 address is among them."""
    return [word.strip() for word in text.split(";" if ";" in text else ":") if word.strip()]


def play(site: Site, config: Path, client: str, to: str) -> str:
    """What Exim says to RCPT. Raises ConfigError if the session ends before."""
    try:
        return Exim(site.exim, config).reply_to_rcpt(client, Envelope(HELO, SENDER, to))
    except ConfigError as error:
        raise ConfigError(f"exim -bh {client}: {error}") from error


@contextlib.contextmanager
def aside(site: Site) -> Iterator[Path]:
    """A directory that Exim can look into, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="try.", dir=site.work) as directory:
        with contextlib.suppress(PermissionError):
            give_to_group(directory, EXIM_GROUP)
        Path(directory).chmod(0o750)
        yield Path(directory)


def build(site: Site, wanted: Wanted, where: Path) -> Path:
    """Make Exim's configuration from the live files with `wanted` in their place, below `where`; returns its path.

    Raises ConfigError if that cannot be done, or Exim does not take it.
    """
    confdir = where / "exim4"
    try:
        _copy(site.confdir, confdir)
        for path, text in wanted.items():
            if path.is_relative_to(site.confdir):
                _put(confdir / path.relative_to(site.confdir), text)
            else:
                _put(where / path.name, text)
        if site.acl_file not in wanted and site.acl_file.exists():  # as it is in force
            _put(where / site.acl_file.name, read_plain(site.acl_file, FILE_BYTES).decode("utf-8", "surrogateescape"))
        # The script looks for some files in /etc/exim4 whatever directory it is told (4.96 and 4.98).
        script = where / "update-exim4.conf"
        script.write_text(site.update.read_text().replace(str(site.confdir), str(confdir)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{site.confdir} cannot be copied to try it: {error}") from error
    config = where / "config"
    if site.handwritten.exists():
        config.write_bytes((confdir / site.handwritten.name).read_bytes())
    else:
        must(["/bin/sh", script, "-d", confdir, "-o", config], "update-exim4.conf")
    # Its ACLs, the administrator's own too, name our file where it is tried.
    made = config.read_bytes()
    config.write_bytes(made.replace(str(site.acl_file).encode(), str(where / site.acl_file.name).encode()))
    with contextlib.suppress(PermissionError):
        give_to_group(config, EXIM_GROUP)
    config.chmod(0o640)
    Exim(site.exim, config).must("-bV")
    return config


def _copy(confdir: Path, to: Path) -> None:
    """What update-exim4.conf reads is copied; for the rest, which may belong to others, stands a link to it.

    Raises OSError, also if something in there is not a plain file.
    """
    to.mkdir()
    for path in confdir.iterdir():
        if path.name == "conf.d" and path.is_dir():
            _copy_below(path, to / path.name, frozenset())
        elif not path.name.startswith(("exim4.conf", "update-exim4.conf")):
            (to / path.name).symlink_to(path)
        elif path.exists():  # no dangling link
            (to / path.name).write_bytes(read_plain(path, FILE_BYTES))


def _copy_below(directory: Path, to: Path, above: frozenset[tuple[int, int]]) -> None:
    """What a link leads to, not the link: it may be relative."""
    status = directory.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise OSError(errno.ELOOP, f"{directory} leads back into itself")
    to.mkdir()
    for path in directory.iterdir():
        if path.is_dir():
            _copy_below(path, to / path.name, above | {here})
        elif path.exists():
            (to / path.name).write_bytes(read_plain(path, FILE_BYTES))


def _put(path: Path, text: str | None) -> None:
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))


def pending(site: Site, before: Path) -> bool:
    """Whether the configuration in force lacks what `before`, built from the present files, has."""
    if site.handwritten.exists() or not site.generated.exists():
        return False
    present = before.read_bytes()
    for path in (site.confdir, site.acl_file):
        copied = before.parent / ("exim4" if path == site.confdir else path.name)
        present = present.replace(str(copied).encode(), str(path).encode())
    return not same(site.generated.read_bytes(), present)


def same(one: bytes, other: bytes) -> bool:
    """Whether two generated configurations say the same; their comments tell when and where they were made."""
    first, second = (
        [line for line in text.split(b"\n") if not line.lstrip().startswith(b"#")] for text in (one, other)
    )
    return first == second


def acl_in_force(site: Site, config: Path) -> str:
    """What a configuration has as ACL for recipients: a name, a file, or statements."""
    return Exim(site.exim, config).must("-bP", "acl_smtp_rcpt").partition("=")[2].strip()


def asks(site: Site, config: Path) -> bool:
    """Whether a configuration has our ACL for recipients in force, by itself or within one of the administrator's."""
    if site.acl_file.name in acl_in_force(site, config):
        return True
    acl_file = site.acl_file if config == site.config else config.parent / site.acl_file.name
    return acl_file.exists() and own_acl.asking(Exim(site.exim, config).must("-bP", "config"), acl_file)


def proofs(site: Site, config: Path) -> list[Proof]:
    """What a configuration says to strangers. Raises ConfigError."""
    return prove(Exim(site.exim, config), STRANGERS)


def granted_relays(site: Site, config: Path, proof: Proof, acl_text: str) -> str:
    """What a client that is granted is told by a configuration built aside, of what it was refused in `proof`.

    acl_text: the ACL file with "yes" for an answer. Raises ConfigError.
    """
    acl_file = config.parent / site.acl_file.name
    before = acl_file.read_bytes()
    acl_file.write_text(acl_text, "utf-8")
    try:
        exim = Exim(site.exim, config)
        replies = [exim.reply_to_rcpt(proof.client, envelope) for envelope in proof.envelopes]
    finally:
        acl_file.write_bytes(before)
    return next((reply for reply in replies if reply.startswith("2")), replies[0])


def played(site: Site, config: Path) -> dict[Case, str]:
    """Every case, and what Exim says by a configuration. Raises ConfigError if a session ends early."""
    return {case: play(site, config, case.client, case.to) for case in cases(site)}


def compare(before: Mapping[Case, str], after: Mapping[Case, str]) -> list[str]:
    """What `played` found with both: what was seen, one line each. Raises ConfigError if mail would suffer."""
    seen = []
    for case, new in after.items():
        old = before[case]
        if old.startswith("2") and not new.startswith("2"):
            raise ConfigError(f"{case.label}: was {old!r} and would be {new!r}; nothing is changed")
        if case.stranger and new.startswith("2") and not old.startswith("2"):
            raise ConfigError(f"{case.label}: was {old!r} and would be {new!r}, an open relay; nothing is changed")
        seen.append(f"{case.label}: {new}")
    return seen
