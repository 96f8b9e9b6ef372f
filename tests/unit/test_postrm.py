"""The package's postrm takes out of Exim's macros what `popauthctl exim disable` takes out, byte for byte."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from popauthd.eximsetup import files, plan
from tests.support.helpers import ROOT

POSTRM = ROOT / "packaging/debian/popauthd.postrm"
BEGIN = f"{plan.BEGIN}: put in by popauthctl exim enable, taken out by popauthctl exim disable\n"
MADE = BEGIN.replace(":", f"{plan.MADE}:", 1)
JOINED = BEGIN.replace(":", f"{plan.JOINED}:", 1)
BODY = "MAIN_ACL_CHECK_RCPT = /etc/popauthd/exim-acl\n"
END = f"{plan.END}\n"
BLOCK = BEGIN + BODY + END
OURS = "OWN = 1\n"
ODD = "\udcff\udc80 \x00\x0b\x85\u2028\n"

CASES: list[tuple[str, str | None, str | None]] = [
    ("no file", None, None),
    ("empty", "", ""),
    ("none of ours", OURS, OURS),
    ("our block alone", BLOCK, ""),
    ("our block, and our file", MADE + BODY + END, None),
    ("our file, and a line behind", MADE + BODY + END + OURS, OURS),
    ("our file, and a line before", OURS + MADE + BODY + END, OURS),
    ("lines around", OURS + BLOCK + OURS, OURS + OURS),
    ("a line without its feed before", "OWN = 1\n" + JOINED + BODY + END, "OWN = 1"),
    ("the same, and a line behind", OURS + JOINED + BODY + END + OURS, OURS + OURS),
    ("blank lines before", OURS + "\n\n" + BLOCK, OURS + "\n\n"),
    ("a last line without its feed", BLOCK + "OWN = 1", "OWN = 1"),
    ("END missing", OURS + BEGIN + BODY + OURS, OURS + BEGIN + BODY + OURS),
    ("END without its feed", OURS + BLOCK.rstrip("\n"), OURS + BLOCK.rstrip("\n")),
    ("END above", END + OURS + BEGIN + BODY + OURS, END + OURS + BEGIN + BODY + OURS),
    ("END above and below", END + OURS + BLOCK + OURS, END + OURS + OURS),
    ("END with a blank behind", BEGIN + BODY + "# END popauthd \n" + OURS, BEGIN + BODY + "# END popauthd \n" + OURS),
    ("END with a blank before", BEGIN + BODY + " # END popauthd\n" + OURS, BEGIN + BODY + " # END popauthd\n" + OURS),
    ("BEGIN with a blank before", " " + BLOCK + OURS, " " + BLOCK + OURS),
    ("END of CRLF", BEGIN + BODY + "# END popauthd\r\n" + OURS, BEGIN + BODY + "# END popauthd\r\n" + OURS),
    ("CRLF around", "OWN = 1\r\n" + BLOCK + "OWN = 2\r\n", "OWN = 1\r\nOWN = 2\r\n"),
    ("BEGIN of CRLF", BEGIN.replace("\n", "\r\n") + BODY + END + OURS, OURS),
    ("two blocks", OURS + BLOCK + OURS + BLOCK + OURS, OURS * 3),
    ("two blocks side by side", BLOCK + BLOCK, ""),
    ("a block whose END is missing before one", BEGIN + OURS + BLOCK, BEGIN + OURS),
    ("a BEGIN inside", BEGIN + BEGIN + BODY + END + OURS, BEGIN + OURS),
    ("another's block", "# BEGIN popauthd-more\n" + OURS + END, "# BEGIN popauthd-more\n" + OURS + END),
    ("another's block inside", BEGIN + "# BEGIN popauthd-more\n" + END + OURS, OURS),
    ("a BEGIN that says nothing", "# BEGIN popauthd\n" + BODY + END + OURS, OURS),
    ("nothing between", BEGIN + END + OURS, OURS),
    (
        "bytes that are no text",
        "\udcff\udc80 \x00\x0b\x85\u2028\n" + BLOCK + "\udce9",
        "\udcff\udc80 \x00\x0b\x85\u2028\n\udce9",
    ),
]


def purged(path: Path) -> int:
    """What postrm's function returns; the caller looks at the file."""
    # no name of a command to carry out, as the sourced script looks at $1
    words: list[str | Path] = [
        "sh",
        "-c",
        'postrm=$1 file=$2; set --; . "$postrm"; set +e; take_out_block "$file"',
        "sh",
        POSTRM,
        path,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    return done.returncode


def data(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else None


@pytest.mark.parametrize(("text", "left"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_purge_takes_out_what_disable_would(tmp_path: Path, text: str | None, left: str | None) -> None:
    path = tmp_path / "exim4.conf.localmacros"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        path.chmod(0o640)
    assert plan.without_block(text) == left
    assert purged(path) == (0 if left != text else 1)
    assert data(path) == left
    assert list(tmp_path.iterdir()) == ([path] if left is not None else [])
    if left is not None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_both_have_one_rule_for_any_lines(tmp_path: Path) -> None:
    dice = random.Random(24)
    pieces = [
        BEGIN,
        MADE,
        JOINED,
        END,
        BODY,
        OURS,
        "\n",
        "# END popauthd",
        "# END popauthd \n",
        " " + BEGIN,
        "OWN",
        "\r\n",
    ]
    path = tmp_path / "macros"
    for _ in range(150):
        text = "".join(dice.choices(pieces, k=dice.randrange(9)))
        path.write_text(text, newline="")
        purged(path)
        assert data(path) == plan.without_block(text), repr(text)


@pytest.mark.parametrize("text", [OURS + BLOCK, MADE + BODY + END], ids=["the administrator's", "ours"])
def test_a_link_is_treated_as_disable_does(tmp_path: Path, text: str) -> None:
    found = []
    for name in ("purge", "disable"):
        where = tmp_path / name
        (where / "etc").mkdir(parents=True)
        target, link = where / "target", where / "etc/macros"
        target.write_text(text)
        target.chmod(0o604)
        os.chown(target, 1, 2)
        link.symlink_to("../target")
        if name == "purge":
            assert purged(link) == 0
        else:
            files.write(link, plan.without_block(data(link)))
        status = target.stat()
        found.append((link.is_symlink(), target.read_text(), oct(status.st_mode), status.st_uid, status.st_gid))
        assert len(list(where.iterdir())) == 2
    assert found[0] == found[1]


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "macros"
    make(path)
    before = path.lstat()
    assert purged(path) == 1
    assert path.lstat().st_ino == before.st_ino
