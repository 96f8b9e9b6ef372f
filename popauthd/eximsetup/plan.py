"""Which files should hold what, for popauthd to be in Exim's configuration, or out of it. Reads, and changes nothing.

For a split configuration a file of our own in conf.d/main; for an unsplit one a marked block at the end of
exim4.conf.localmacros, whose first line tells how to take it out without a trace. Beside them the ACL file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from popauthd.errors import ConfigError
from popauthd.eximsetup.site import Site, read, sets_hook, snippets

VIAS = ("socket", "readlookup", "hostlist")
BEGIN, END = "# BEGIN popauthd", "# END popauthd"
MADE = " (made this file)"
JOINED = " (ended the line before)"
# The package's postrm has the same rule, for when there is no Python. Of a block whose END is missing the next END is
# another's: what stands between the two BEGINs may be the administrator's.
_FIRST = rf"{BEGIN}(?P<how>[ :].*)?\n"
_BLOCK = re.compile(rf"^{_FIRST}(?:(?!{BEGIN}[ :\n]).*\n)*?{END}\n", re.MULTILINE)

Wanted = Mapping[Path, str | None]  # None: no such file


def enabled(site: Site, via: str) -> Wanted:
    """The files with popauthd in, asked in one of VIAS. Raises ConfigError if the administrator's own stand against it.

    For both kinds of configuration, so that it stays in when dpkg-reconfigure changes from one to the other.
    """
    macros = _snippet("popauthd-macros").replace("/etc/popauthd/exim-acl", str(site.acl_file))
    wanted = dict(disabled(site))
    for path in site.macro_files():
        if sets_hook(wanted.get(path, read(path)) or ""):
            raise ConfigError(
                by_hand(site, wanted)
                or f"{path} sets MAIN_ACL_CHECK_RCPT, so popauthd would not be asked; put into that ACL, before it "
                f"denies relaying: accept acl = {site.acl_file} (see exim/README.md), or take the line out"
            )
    if site.hook_file.parent.is_dir():
        wanted[site.hook_file] = macros
    rest = wanted[site.macros_file]
    how = MADE if rest is None else JOINED if rest and not rest.endswith("\n") else ""
    begin = f"{BEGIN}{how}: put in by popauthctl exim enable, taken out by popauthctl exim disable\n"
    joint = "\n" if how == JOINED else ""
    wanted[site.macros_file] = f"{rest or ''}{joint}{begin}{macros}{END}\n"
    wanted[site.acl_file] = acl(site, via)
    return wanted


def disabled(site: Site) -> Wanted:
    """The files without popauthd."""
    return {site.hook_file: None, site.macros_file: without_block(read(site.macros_file)), site.acl_file: None}


def by_hand(site: Site, wanted: Wanted) -> str:
    """What to do about a hook to our ACL file that stands in a file without our marks; "" if there is none."""
    for path in site.macro_files():
        if sets_hook(text := wanted.get(path, read(path)) or "") and str(site.acl_file) in text:
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


def acl(site: Site, via: str) -> str:
    """The ACL file for one of VIAS, with this site's paths."""
    text = _snippet(f"acl-{via}")
    script = str(site.readlookup)
    if str(site.run_dir) != "/run/popauthd":
        script += f" --map {site.run_dir}/relay.mdb"
    return text.replace("/usr/lib/popauthd/readlookup", script).replace("/run/popauthd/", f"{site.run_dir}/")


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
