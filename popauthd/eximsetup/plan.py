"""Which files should hold what, for popauthd to be in Exim's configuration, or out of it. Reads, and changes nothing.

For a split configuration a file of our own in conf.d/main; for an unsplit one a marked block at the end of
exim4.conf.localmacros, whose first line tells how to take it out without a trace. Beside them the ACL file. Where an
ACL of the administrator's own asks popauthd (`own_acl`), the ACL file is all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from popauthd.config import Config
from popauthd.errors import ConfigError
from popauthd.eximsetup import own_acl
from popauthd.eximsetup.site import Site, read, sets_hook, snippets

# The ways in which Exim can ask, and what a message calls them.
VIAS = {"socket": "the socket", "readlookup": "readlookup", "hostlist": "the host list"}
BEGIN, END = "# BEGIN popauthd", "# END popauthd"
MADE = " (made this file)"
JOINED = " (ended the line before)"
# The package's postrm has the same rule, for when there is no Python. Of a block whose END is missing the next END is
# another's: what stands between the two BEGINs may be the administrator's.
_FIRST = rf"{BEGIN}(?P<how>[ :].*)?\n"
_BLOCK = re.compile(rf"^{_FIRST}(?:(?!{BEGIN}[ :\n]).*\n)*?{END}\n", re.MULTILINE)

# What the ACL files say to a client that may not relay, and by which words they know that a refusal is one of relaying.
TEXT = "Relay access denied: check mail, then send within 15 minutes"
KNOWN_WORDS = r"^([45]\d\d )?(\d\.\d+\.\d+ )?relay(ing)? (not permitted|denied)"
NO_WORDS = "Administrative prohibition"  # Exim's, where an ACL has none
_OR = r"|^([45]\d\d )?"
_ASK = "set acl_m_popauthd_ask = ${if eq{$acl_arg1}{granted}{yes}{no}}"

Wanted = Mapping[Path, str | None]  # None: no such file


def enabled(site: Site, via: str, text: str = "", words: str = "") -> Wanted:
    """The files with popauthd in, asked in one of VIAS. Raises ConfigError if the administrator's own stand against it.

    For both kinds of configuration, so that it stays in when dpkg-reconfigure changes from one to the other.
    text, words: see `acl`.
    """
    wanted = dict(disabled(site))
    if told := by_hand(site, wanted):
        raise ConfigError(told)
    wanted[site.acl_file] = acl(site, via, text, words)
    if own_acl.in_use(site) or site.handwritten.exists():
        return wanted
    macros = _snippet("popauthd-macros").replace("/etc/popauthd/exim-acl", str(site.acl_file))
    if site.hook_file.parent.is_dir():
        wanted[site.hook_file] = macros
    rest = wanted[site.macros_file]
    how = MADE if rest is None else JOINED if rest and not rest.endswith("\n") else ""
    begin = f"{BEGIN}{how}: put in by popauthctl exim enable, taken out by popauthctl exim disable\n"
    joint = "\n" if how == JOINED else ""
    wanted[site.macros_file] = f"{rest or ''}{joint}{begin}{macros}{END}\n"
    return wanted


def disabled(site: Site) -> Wanted:
    """The files without popauthd."""
    return {site.hook_file: None, site.macros_file: without_block(read(site.macros_file)), site.acl_file: None}


def by_hand(site: Site, wanted: Wanted) -> str:
    """What to do about a hook to our ACL file that stands in a file without our marks; "" if there is none."""
    for path in site.macro_files():
        if (
            sets_hook(text := without_block(wanted.get(path, read(path))) or "")
            and f"exists{{{site.acl_file}}}" in text
        ):
            return (
                f"popauthd's lines were put into {path} by hand, so they are left alone; take them out by hand as well "
                "(see exim/README.md), run update-exim4.conf, reload Exim, then try again"
            )
    return ""


def without_block(text: str | None) -> str | None:
    """exim4.conf.localmacros as it was before our block, or blocks; None if it was not there."""
    while text is not None and (found := _BLOCK.search(text)):
        before, after, how = text[: found.start()], text[found.end() :], found["how"] or ""
        if how.startswith(JOINED) and not after:
            before = before.removesuffix("\n")
        rest = before + after
        text = None if how.startswith(MADE) and not rest else rest
    return text


def acl(site: Site, via: str, text: str = "", words: str = "") -> str:
    """The ACL file for one of VIAS, with this site's paths.

    text: for a client that may not relay, "" for the one in the file. words: the site's own refusal of relaying, where
    it is not in Debian's words.
    """
    found = _snippet(f"acl-{via}")
    script = str(site.readlookup)
    if str(site.run_dir) != "/run/popauthd":
        script += f" --map {site.run_dir}/relay.mdb"
    found = found.replace("/usr/lib/popauthd/readlookup", script).replace("/run/popauthd/", f"{site.run_dir}/")
    if words:
        found = found.replace(KNOWN_WORDS, f"{KNOWN_WORDS}{_OR}{re.escape(words)}$")
    return found.replace(TEXT, _expanding_to(text)) if text else found


def words_of(text: str | None) -> str:
    """The site's own refusal of relaying that an ACL file knows; "" for Debian's words alone."""
    found = re.search(re.escape(KNOWN_WORDS + _OR) + r"(.*)\$\\N\n", text or "")
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def other_words(reply: str) -> str:
    """How a site refuses relaying, if that is not in Debian's words; "" where these, or none, are its words."""
    text = re.sub(r"^[45]\d\d ", "", reply)
    known = re.match(KNOWN_WORDS, text, re.IGNORECASE) is not None
    return "" if known or "\\" in text or text == NO_WORDS else text


def _expanding_to(text: str) -> str:
    """A text as Exim's string expansion must be given it."""
    return re.sub(r"([\\${}])", r"\\\1", text)


def granting(acl_text: str) -> str:
    """An ACL file as `acl` makes it, whose answer is always yes: for a trial alone."""
    return acl_text.replace("set acl_m_popauthd_ask = yes", "set acl_m_popauthd = yes").replace(
        _ASK,
        f"set acl_m_popauthd = {_ASK.partition(' = ')[2]}\n  {_ASK.replace('{yes}', '{done}')}",
    )


def refusal(config: Config) -> str:
    """What Exim tells a client that may not relay: the administrator's text, or ours with the lifetime.

    The shortest lifetime that a network has, so that it holds for all.
    """
    if config.refusal:
        return config.refusal
    seconds = min([config.lifetime_seconds, *(lifetime for _network, lifetime in config.lifetime_by_network)])
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, size = next((unit, size) for unit, size in units if seconds % size == 0 and (seconds > size or size == 1))
    return TEXT.replace("15 minutes", f"{seconds // size} {unit}{'s' * (seconds != size)}")


def via_of(text: str | None) -> str:
    """By which of VIAS an ACL file asks; "" if it is none of ours."""
    marks = {"socket": "${readsocket{", "readlookup": "${run{", "hostlist": "iplsearch{"}
    found = [via for via, mark in marks.items() if text is not None and mark in text]
    return found[0] if len(found) == 1 and text is not None and "popauthd" in text else ""


def changes(wanted: Wanted) -> dict[Path, tuple[str | None, str | None]]:
    """What must change: path -> text now, text wanted."""
    now = {path: read(path) for path in wanted}
    return {path: (now[path], text) for path, text in wanted.items() if now[path] != text}


def diff(changed: Mapping[Path, tuple[str | None, str | None]]) -> str:
    """The changes as a unified diff; a file that is not there is /dev/null."""
    parts: list[str] = []
    for path, (before, after) in changed.items():
        names = ["/dev/null" if text is None else str(path) for text in (before, after)]
        old, new = ((text or "").splitlines(keepends=True) for text in (before, after))
        lines = difflib.unified_diff(old, new, names[0], names[1])
        parts += [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
    return "".join(parts)


def _snippet(name: str) -> str:
    text = read(snippets() / name)
    if text is None:
        raise ConfigError(f"{snippets() / name} is missing; install popauthd again")
    return text
