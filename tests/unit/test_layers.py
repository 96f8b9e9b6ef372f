"""The house: imports go down only, and each third-party package has the rooms it may be used in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers import ROOT

PACKAGE = ROOT / "popauthd"

# The rooms by floor; a module may import from its own floor's package or from lower floors only.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "model",
        "address",
        "kinds",
        "settings",
        "text",
        "clock",
        "userlist",
        "sizes",
        "cut",
        "own",
        "durable",
        "marks",
    ),
    ("config", "stamps", "formats", "policy", "protocol", "alarm", "twice", "pushes", "http", "asuser", "accepting"),
    (
        "relaymap",
        "books",
        "sources",
        "hostlist",
        "heal",
        "control",
        "userfile",
        "eximsetup",
        "notify",
        "dovecotconf",
        "locks",
    ),
    ("batch", "lostends", "publisher", "house", "watcher", "responder", "machine", "asking"),
    ("commands", "assembly", "pushing", "rundir"),
    ("daemon", "dovecotcheck"),
    ("doctor",),
    ("cli", "__main__"),
)
WITHIN_A_FLOOR = {
    ("kinds", "address"),
    ("settings", "kinds"),
    ("formats", "stamps"),
    ("http", "protocol"),
    ("pushes", "protocol"),
    ("watcher", "batch"),
    ("watcher", "publisher"),
    ("watcher", "house"),
    ("house", "publisher"),
    ("house", "lostends"),
    ("commands", "watcher"),
}
THIRD_PARTY = {
    "lmdb": {"relaymap", "books"},
    "watchdog": {"sources"},
    "pygtail": {"sources"},
    "systemd": {"sources"},
}
# Core rooms: no I/O, no clock of their own.
PURE = (
    "model",
    "cut",
    "address",
    "kinds",
    "settings",
    "stamps",
    "formats",
    "policy",
    "protocol",
    "alarm",
    "twice",
    "pushes",
    "http",
    "dovecotconf",
)
IMPURE = {"os", "socket", "subprocess", "selectors", "threading", "pathlib", "io", "logging"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            found |= {f"{base}.{alias.name}" for alias in node.names} if base == "popauthd" else {base}
    return found


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_module_imports_only_from_below(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert imports(path) == set()
        return
    mine = room(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "popauthd" and rest and not rest.startswith("__version__"):
            theirs = rest.split(".")[0]
            below = floor(theirs) < floor(mine) or theirs == mine or (mine, theirs) in WITHIN_A_FLOOR
            assert below, f"{mine} (floor {floor(mine)}) imports {theirs} (floor {floor(theirs)})"
        if top in THIRD_PARTY:
            assert mine in THIRD_PARTY[top], f"{mine} imports {top}"
        if mine in PURE:
            assert top not in IMPURE, f"{mine} is pure and imports {top}"


def test_every_module_has_a_floor() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} == {name for rooms in FLOORS for name in rooms}
