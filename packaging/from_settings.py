"""What the package says of the settings, made from their rows: `from_settings.py conffile`, `... manual TEMPLATE`.

conffile prints popauthd.toml with every key commented out at its default, below its sentence. manual prints the
template with its lines @SETTINGS@ and @SOURCE_SETTINGS@ replaced by mdoc(7) lists. Run from the source tree.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from popauthd.config.settings import SETTINGS, SOURCE_SETTINGS, Setting

HEAD = """\
# The configuration of popauthd, TOML. Every setting is here, commented out, with its default.
# popauthd.toml(5) explains them; /usr/share/doc/popauthd/README.Debian is where to begin.
# After a change: popauthctl config check && systemctl restart popauthd popauthd-lookup.service
# Lengths of time are written "15m", "90s", "100ms", or a number of seconds.
"""
SOURCE_HEAD = """\
# The logs to follow, one [[source]] table each, below everything else. Without any, popauthd takes the journal if
# Dovecot logs there, or the first of the usual log files.
#[[source]]
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
        [HEAD.rstrip("\n"), *commented(SETTINGS), "", SOURCE_HEAD.rstrip("\n"), *commented(SOURCE_SETTINGS), ""]
    )


def escaped(text: str) -> str:
    """Text that roff takes literally: no escape, no request at the start of a line, plain quotes and dashes."""
    return (
        text.replace("\\", "\\e").replace('"', "\\(dq").replace("'", "\\(aq").replace("`", "\\(ga").replace("-", "\\-")
    )


def listed(rows: Sequence[Setting]) -> Iterator[str]:
    """The rows as an mdoc list."""
    yield ".Bl -tag -width Ds"
    for row in rows:
        yield f".It Ic {row.key}"
        yield f"Default: {escaped(json.dumps(row.default))}"
        yield ".br"
        # a sentence ends its line
        yield from re.split(r"(?<=[.?!]) (?=[A-Z])", escaped(row.sentence))
    yield ".El"


def manual(template: str) -> str:
    """The page with its lists."""
    for mark, rows in (("@SETTINGS@", SETTINGS), ("@SOURCE_SETTINGS@", SOURCE_SETTINGS)):
        template = template.replace(f"{mark}\n", "\n".join(listed(rows)) + "\n")
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
