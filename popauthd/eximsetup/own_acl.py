"""What an administrator whose recipient ACL is not Debian's adds to it, so that it asks popauthd: the lines, and where.

The trace of a stranger's session names the statement that refuses relaying. A granted client passes this one, and those
that ask who the client is and spare relay hosts; the others hold for it too. The lines do nothing while popauthd's ACL
file is not there; `popauthctl exim enable` writes it then, and proves that strangers are still refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from popauthd.eximsetup.relaying import Proof
from popauthd.eximsetup.site import Site, read
from popauthd.eximsetup.trace import IMPLICIT

ARGUMENT = "granted"
_VERB = re.compile(r"^[ \t]*(accept|defer|deny|discard|drop|require|warn)\b[ \t]*(.*)", re.DOTALL)
_LABEL = re.compile(r"^[ \t]*(\w+)[ \t]*:[ \t]*$")
_MODIFIERS = {
    "add_header", "continue", "control", "delay", "dscp", "endpass", "log_message", "log_reject_target", "logwrite",
    "message", "queue", "remove_header", "set", "udpsend",
}  # fmt: skip
_RELAY_HOSTS = re.compile(r"(hosts[ \t]*=.*\+|authenticated\b)")
_STANDING = re.compile(r"![ \t]*(hosts[ \t]*=.*\+|authenticated\b)")
_ADDRESS = re.compile(r"(dnslists|spf)\b|!?[ \t]*verify[ \t]*=[ \t]*(reverse_host_lookup|helo)\b")
INDENT = " " * 6


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it stands in a configuration. lines: verb apart, each a condition or a modifier."""

    acl: str
    at: int
    verb: str
    lines: tuple[str, ...]

    def conditions(self) -> list[str]:
        """Its conditions, without what it does or says."""
        return [line for line in self.lines if _word(line) not in _MODIFIERS]

    def shown(self, verb: str = "", *, lines: Sequence[str] | None = None) -> str:
        """The statement's text, or that of one like it."""
        words = [verb or self.verb, *(self.lines if lines is None else lines)]
        return "\n".join(f"{INDENT}{'  ' * bool(index)}{word}" for index, word in enumerate(words))


def asks(acl_file: Path) -> str:
    """The line of an ACL that asks popauthd; it denies while the file is not there."""
    return f'acl = "${{if exists{{{acl_file}}}{{{acl_file}}}{{deny}}}}" {ARGUMENT}'


def asking(text: str, acl_file: Path) -> bool:
    """Whether a configuration's text has such a line."""
    return re.search(rf"(?m)^[^#\n]*\bacl\s*=[^\n]*{re.escape(str(acl_file))}[^\n]*\s{ARGUMENT}\s*$", text) is not None


def files(site: Site) -> list[Path]:
    """Where the ACLs of the configuration in use are written."""
    if site.handwritten.exists():
        return [site.handwritten]
    if not site.split():
        return [site.confdir / "exim4.conf.template", site.macros_file]
    return sorted(path for path in (site.confdir / "conf.d").glob("*/*") if path.is_file())


def in_use(site: Site) -> bool:
    """Whether an ACL of the administrator's own asks popauthd."""
    return any(asking(read(path) or "", site.acl_file) for path in files(site))


def steps(site: Site, config: str, proof: Proof) -> str:
    """What to do, step by step. config: the text of the configuration that the proof was made with."""
    where, what = _place_and_lines(site, config, proof)
    anew = "exim4 -bV" if site.handwritten.exists() else "update-exim4.conf && exim4 -bV"
    return (
        f"1. In {where}\n{what}\n"
        f"2. {anew} && systemctl reload exim4\n"
        "   (Nothing changes by that: the line denies while popauthd's file is not there.)\n"
        "3. popauthctl exim enable\n"
        "   (It writes the file, and proves that strangers are refused and a granted client relays.)"
    )


def _place_and_lines(site: Site, config: str, proof: Proof) -> tuple[str, str]:
    line = asks(site.acl_file)
    found = proof.statement
    every = statements(config)
    same = [one for one in every if found and one.acl == found.acl]
    where = _file(site, found.acl if found else "")
    # Exim counts a line that goes on below by its end.
    refusing = max((one for one in same if found and one.at <= found.line), key=lambda one: one.at, default=None)
    if found is None or refusing is None:
        return where, (
            "   find the statement that refuses relaying. If it is a `deny`, add this line at its end:\n"
            f"{INDENT}!{line}\n"
            "   Otherwise put these lines directly above it, with the domains that it allows:\n"
            f"{INDENT}accept\n{INDENT}  !domains = +local_domains : +relay_to_domains\n{INDENT}  {line}"
        )
    where += f", {found.acl} refuses"
    if found.verb == IMPLICIT:
        return where, f"   relaying as its end is reached. Put these lines at its end:\n{_accept(refusing, [], line)}"
    where += " relaying by this statement:\n" + refusing.shown()
    conditions = refusing.conditions()
    if refusing.verb == "require":
        conditions = [_contrary(one) for one in conditions if _word(one) == found.checks[-1].name][:1]
    if not conditions or (refusing.verb == "require" and len(refusing.conditions()) > 1):
        what = f"   Put these lines directly above it:\n{_accept(refusing, conditions, line)}"
    elif refusing.verb == "require":
        modifiers = [one for one in refusing.lines if _word(one) in _MODIFIERS]
        what = "   Put this in its place:\n" + refusing.shown("deny", lines=[*modifiers, *conditions, f"!{line}"])
    else:
        what = f"   Add this line at its end:\n{INDENT}  !{line}"
    if others := _of_the_client(same, refusing):
        what += "\n   Add the same line at the end of what spares relay hosts, or who has authenticated:\n"
        what += "\n".join(one.shown() for one in others)
    return where, what


def _accept(like: Statement, conditions: Sequence[str], line: str) -> str:
    return like.shown("accept", lines=[*conditions, line])


def _file(site: Site, acl: str) -> str:
    """The file in which an ACL begins."""
    for path in files(site):
        if acl and re.search(rf"(?m)^[ \t]*{re.escape(acl)}[ \t]*:[ \t]*$", read(path) or ""):
            return str(path)
    return "the recipient ACL of Exim's configuration"


def statements(config: str) -> list[Statement]:
    """The statements of the ACLs in a configuration's text, each with the number of its first line."""
    found: list[Statement] = []
    section = acl = ""
    lines = _whole_lines(config)
    for at, line in lines:
        if begins := re.match(r"[ \t]*begin[ \t]+(\w+)", line):
            section = begins[1]
        elif section == "acl" and (label := _LABEL.match(line)):
            acl = label[1]
        elif section == "acl" and (verb := _VERB.match(line)):
            found.append(Statement(acl, at, verb[1], (verb[2].strip(),) if verb[2].strip() else ()))
        elif section == "acl" and found and found[-1].acl == acl and line.strip():
            found[-1] = Statement(acl, found[-1].at, found[-1].verb, (*found[-1].lines, line.strip()))
    return found


def _whole_lines(config: str) -> list[tuple[int, str]]:
    """Lines without comments and Exim's own directives, each joined with those that continue it."""
    whole: list[tuple[int, str]] = []
    continued = False
    for at, line in enumerate(config.splitlines(), 1):
        if line.lstrip().startswith(("#", ".")):
            continue
        if continued:
            whole[-1] = (whole[-1][0], f"{whole[-1][1]}\n{line}")
        else:
            whole.append((at, line))
        continued = line.endswith("\\")
    return whole


def _word(line: str) -> str:
    """The name of a condition or modifier."""
    return re.split(r"[\s=]", line.lstrip("! \t"), maxsplit=1)[0]


def _contrary(line: str) -> str:
    return line[1:].lstrip() if line.startswith("!") else f"!{line}"


def _of_the_client(same: Sequence[Statement], refusing: Statement) -> list[Statement]:
    """The other refusals of who sends from a strange address, and neither is a relay host nor has authenticated."""
    let_in = [one.at for one in same if one.verb == "accept" and one.at < refusing.at and _of_relay_hosts(one)]
    found = []
    for one in same:
        behind = bool(let_in) and one.at > let_in[0]
        if one.verb in ("deny", "drop", "defer") and one is not refusing:
            found += [one] * any(
                _STANDING.match(line) or (behind and _ADDRESS.match(line)) for line in one.conditions()
            )
    return found


def _of_relay_hosts(one: Statement) -> bool:
    """Whether an "accept" is for certain hosts, or who has authenticated, wherever the mail goes."""
    conditions = one.conditions()
    return bool(conditions) and all(_RELAY_HOSTS.match(line) for line in conditions)
