"""The mutation run: what a mutant is, which are left alone, and that a test decides whether one survives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mutants import Harmless, sample
from tests.faults.mutate import HARMLESS, JUDGES, judges
from tests.support.helpers import ROOT

MADE = [
    ("a boundary", "x = a < b", {"x = a <= b"}),
    ("a sign", "x = a is not None", {"x = a is None"}),
    ("a chain", "x = a <= b <= c", {"x = a < b <= c", "x = a <= b < c"}),
    ("a sum", "x = a + b", {"x = a - b"}),
    ("a joined text", "x = b'' + b", set()),
    ("a union of types", "X = Alpha | Beta", set()),
    ("words", "x = a and b", {"x = a or b"}),
    ("a denial", "x = not a", {"x = a"}),
    ("a condition", "x = a if b else c", {"x = a if (not (b)) else c"}),
    ("a truth", "x = True", {"x = False"}),
    ("a number", "x = 7", {"x = 8", "x = 6"}),
    ("bytes", "x = rb'7'", {"x = rb'x7'", 'x = b""'}),
    ("the larger one", "x = max(a, key=b)", {"x = min(a, key=b)", "x = max(a)"}),
    ("an argument", "x = f(a, b)", {"x = f(a)"}),
    ("a loop", "for x in y:\n    if not x:\n        continue\n    z = x", {"if x:", "break", "pass"}),
    ("what is raised", "def f():\n    raise ValueError('said')", {"pass"}),
    ("what is caught", "try:\n    x = y\nexcept OSError:\n    x = z", {"except ():"}),
    ("what is given back", "def f() -> str | None:\n    return x", {"return None", 'return ""', "pass"}),
    ("a truth that is given back", "def f() -> bool:\n    return x", {"return False", "return not (x)", "pass"}),
    ("nothing", "def f() -> None:\n    return None", set()),
    ("a second value", "def f(a):\n    a = b\n    c = a", {"pass"}),
    ("what is for a reader", '"""Text."""\nfrom a import b\n__all__ = ("b",)\nx: "y"\nlog.warning("text", 7)', set()),
]


@pytest.mark.parametrize(("source", "made"), [row[1:] for row in MADE], ids=[row[0] for row in MADE])
def test_the_mutants_of_a_text_are(source: str, made: set[str]) -> None:
    found = {m.after for seed in range(60) for m in sample("file.py", source, seed, 99, Harmless(""))}
    assert found == made


def test_the_seed_decides_which_mutants_are_drawn() -> None:
    source = (ROOT / "popauthd/formats/timestamps.py").read_text()
    first, again, other = (
        sample("popauthd/formats/timestamps.py", source, seed, 20, Harmless("")) for seed in (1, 1, 2)
    )
    assert len(first) == 20
    assert first == again != other


def test_a_mutant_is_shown_with_its_line_and_all_lines_that_differ() -> None:
    [mutant] = sample("file.py", "y = [\n    é(a),\n    é(b)\n    < c,\n]", 1, 9, Harmless(""))
    assert (mutant.line, mutant.before, mutant.after) == (4, "< c,", "<= c,")


def test_a_line_that_is_there_twice_is_shown_with_the_one_before_it() -> None:
    found = sample("file.py", "if a:\n    y = 1\nx = b\ny = 1", 1, 9, Harmless(""))
    assert [(m.line, m.before) for m in found] == [(1, "if a:"), (2, "if a: y = 1"), (4, "x = b y = 1")]


HARMLESS_ROWS = [
    ("this one", "file.py\n- x = a < b\n+ x = a <= b\n# never equal\n", True),
    ("whatever becomes of the line", "file.py\n- x = a < b\n+ *\n# why\n# and why\n\nother.py\n- x\n+ y\n# why", True),
    ("another file's", "other.py\n- x = a < b\n+ x = a <= b\n# never equal\n", False),
    ("another mutant", "file.py\n- x = a < b\n+ x = a > b\n# never equal\n", False),
]


@pytest.mark.parametrize(
    ("text", "left_out"), [row[1:] for row in HARMLESS_ROWS], ids=[row[0] for row in HARMLESS_ROWS]
)
def test_what_is_harmless_is_not_drawn(text: str, left_out: bool) -> None:
    assert (sample("file.py", "x = a < b", 1, 9, Harmless(text)) == []) is left_out


@pytest.mark.parametrize("text", ["file.py\n- x\n+ y", "file.py\n- x\n# why", "- x\n+ y\n# why\nx"])
def test_a_harmless_mutant_needs_its_reason(text: str) -> None:
    with pytest.raises(ValueError, match="does not name"):
        Harmless(text)


def test_the_list_of_harmless_mutants_names_what_is_there() -> None:
    for file, before in Harmless(HARMLESS.read_text()).rows:
        assert file in JUDGES
        lines = " ".join(line.strip() for line in (ROOT / file).read_text().split("\n"))
        assert before in lines, f"{file} has no longer: {before}"


def test_every_file_that_is_tried_is_there_and_has_its_judges() -> None:
    for file, patterns in JUDGES.items():
        assert (ROOT / file).is_file()
        assert judges(file), patterns


TREE = {
    "popauthd/protocol.py": "def small(x: int) -> bool:\n    return x < 3\n",
    "tests/faults/harmless-mutants.txt": "",
}
WEAK = "from popauthd.protocol import small\n\ndef test_it():\n    assert small(2) and not small(4)\n"
STRONG = WEAK.replace("4", "3")
SURVIVORS = {"return x <= 3", "return x < 4"}
LISTED = "\n".join(f"popauthd/protocol.py\n- return x < 3\n+ {after}\n# planted\n" for after in sorted(SURVIVORS))
RUNS = [
    ("every mutant dies", {"tests/unit/test_protocol.py": STRONG}, 0, 0),
    ("a boundary survives", {"tests/unit/test_protocol.py": WEAK}, 1, 1),
    ("known as harmless", {"tests/unit/test_protocol.py": WEAK, "tests/faults/harmless-mutants.txt": LISTED}, 0, 0),
    ("judges that fail", {"tests/unit/test_protocol.py": WEAK + "    assert False\n"}, 2, 0),
]


@pytest.mark.parametrize(("files", "status", "shown"), [row[1:] for row in RUNS], ids=[row[0] for row in RUNS])
def test_a_run_tells_what_no_test_has_noticed(tmp_path: Path, files: dict[str, str], status: int, shown: int) -> None:
    for name, text in {**TREE, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("mutate.py", "mutants.py", "places.py"):
        shutil.copy(ROOT / "tests/faults" / name, tmp_path / "tests/faults" / name)
    command = [sys.executable, "-m", "tests.faults.mutate", "--jobs", "1", "--each", "99", "protocol.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout.count("popauthd/protocol.py:2\n- return x < 3\n+ return x <= 3") == shown, done.stdout
    assert (tmp_path / "popauthd/protocol.py").read_text() == TREE["popauthd/protocol.py"]
