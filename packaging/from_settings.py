"""What the package says of the settings, made from their rows: `from_settings.py conffile`, `... manual TEMPLATE`.

conffile prints popauthd.toml with every key commented out at its default, below its sentence. manual prints the
template with its lines @SETTINGS@, @SOURCE_SETTINGS@, @CLUSTER_SETTINGS@, @REASONS@ and @FORMATS@ replaced by mdoc(7)
lists: of the settings, of what policy may have against a login, and of the servers. Run from the source tree.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from popauthd.config.settings import CLUSTER_SETTINGS, SETTINGS, SOURCE_SETTINGS, Setting
from popauthd.formats.headers import SHAPES, SYSLOG
from popauthd.formats.row import Format
from popauthd.formats.servers import FORMATS
from popauthd.reasons import LOGINS

HEAD = """\
# The configuration of popauthd, TOML. Every setting is here, commented out, with its default.
# popauthd.toml(5) explains them; /usr/share/doc/popauthd/README.Debian is where to begin.
# After a change: popauthctl config check && systemctl reload popauthd
# group, run_dir, state_dir and [cluster] need: systemctl restart popauthd popauthd-lookup.service
# Lengths of time are written "15m", "90s", "100ms", or a number of seconds.
"""
SOURCE_HEAD = """\
# The logs to follow, one [[source]] table each, below everything else. Without any, popauthd takes the journal if
# Dovecot logs there, or the first of the usual log files.
#[[source]]
"""
CLUSTER_HEAD = """\
# Several machines: a login on any of them opens the relay on all, through a Redis or Valkey. `popauthctl cluster init`
# says all that is to be done. url is needed; without the table this machine is alone.
#[cluster]
"""


def commented(rows: Sequence[Setting]) -> Iterator[str]:
    """Each row as its sentence and its key, `#key = default`."""
    for row in rows:
        yield ""
        yield from textwrap.wrap(row.sentence, 110, initial_indent="# ", subsequent_indent="# ")
        yield f"#{row.key} = {json.dumps(row.default)}"


def conffile() -> str:
    """The configuration file as the package installs it."""
    return "\n".join(
        [
            *(HEAD.rstrip("\n"), *commented(SETTINGS), ""),
            *(SOURCE_HEAD.rstrip("\n"), *commented(SOURCE_SETTINGS), ""),
            *(CLUSTER_HEAD.rstrip("\n"), *commented(CLUSTER_SETTINGS), ""),
        ]
    )


def escaped(text: str) -> str:
    """Text that roff takes literally: no escape, no request at the start of a line, plain quotes and dashes."""
    return (
        text.replace("\\", "\\e").replace('"', "\\(dq").replace("'", "\\(aq").replace("`", "\\(ga").replace("-", "\\-")
    )


def listed(items: Iterable[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """An mdoc list of words, each with its lines of text; a sentence ends its line."""
    yield ".Bl -tag -width Ds"
    for word, lines in items:
        yield f".It Ic {escaped(word)}"
        for number, line in enumerate(lines):
            if number:
                yield ".br"
            yield from re.split(r"(?<=[.?!]) (?=[A-Z])", escaped(line))
    yield ".El"


def settings(rows: Sequence[Setting]) -> Iterator[tuple[str, Sequence[str]]]:
    """Each setting with its default and its sentence."""
    for row in rows:
        yield row.key, (f"Default: {json.dumps(row.default)}", row.sentence)


def servers() -> Iterator[tuple[str, Sequence[str]]]:
    """Each name that `formats` takes, with the servers it is of, the framings it is read in, and how it was proved."""
    for name in dict.fromkeys(row.part_of for row in FORMATS):
        rows = [row for row in FORMATS if row.part_of == name]
        framings = [framing for row in rows for framing in read_in(row)]
        real = ", ".join(row.real for row in rows if row.real)
        proved = f"tested with the real server ({real})" if real else "tested with sample lines alone"
        yield (
            name,
            (
                f"{'; '.join(row.since for row in rows)}.",
                f"framing: {', '.join(dict.fromkeys(framings))}; {proved}",
            ),
        )


def read_in(row: Format) -> Iterator[str]:
    """The framings in which a form of a login is read."""
    if row.programs:
        yield SYSLOG
    yield from (shape.framing for shape in SHAPES if shape.own_format and shape.own_format == row.own)


def manual(template: str) -> str:
    """The page with its lists."""
    for mark, items in (
        ("@SETTINGS@", settings(SETTINGS)),
        ("@SOURCE_SETTINGS@", settings(SOURCE_SETTINGS)),
        ("@CLUSTER_SETTINGS@", settings(CLUSTER_SETTINGS)),
        ("@REASONS@", ((word, [sentence]) for word, sentence in LOGINS.items())),
        ("@FORMATS@", servers()),
    ):
        template = template.replace(f"{mark}\n", "\n".join(listed(items)) + "\n")
    return template


def main(arguments: Sequence[str]) -> int:
    """The command line; 64 if it is wrong."""
    match arguments:
        case ["conffile"]:
            print(conffile(), end="")
        case ["manual", template]:
            print(manual(Path(template).read_text(encoding="utf-8")), end="")
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
