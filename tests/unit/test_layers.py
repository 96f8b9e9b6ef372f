"""The house: imports go down only, and each third-party package has the rooms it may be used in."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.helpers import ROOT

PACKAGE = ROOT / "popauthd"

# The rooms by floor, as packaging/notes/architecture.md draws them. A room is a folder or a file below popauthd/; one
# that is named here by itself stands apart from its folder. A module may import from its own room or from lower floors.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "accounts", "model", "clock", "durable", "file_marks", "mounts"),
    ("reasons", "conditions"),
    ("address", "config/engine_url", "text", "logs", "as_user", "counters", "status", "processes"),
    ("policy", "config/values", "formats/timestamps", "protocol", "serving", "systemd"),
    ("config", "formats", "sources", "sources/push/messages", "sources/push/http", "cluster"),
    ("store", "sources/file", "sources/journal", "sources/push", "eximsetup", "systemd", "locks"),
    ("run_dir",),
    ("watch", "responder"),
    ("control_client", "dovecotcheck", "installed"),
    ("daemon", "doctor"),
    ("cli", "__main__"),
)
# Rooms of one floor that may be imported by another room of it.
WITHIN_A_FLOOR = {("cluster", "config")}
THIRD_PARTY = {
    "lmdb": {"store"},
    "watchdog": {"sources/file"},
    "pygtail": {"sources/file"},
    "systemd": {"sources/journal"},
    "tomli_w": {"config/show"},
    "redis": {"cluster"},
}
# Core rooms: no I/O, no clock of their own.
PURE = (
    "model",
    "conditions",
    "reasons",
    "counters",
    "status",
    "address",
    "policy/__init__",
    "policy/address_facts",
    "policy/cells",
    "policy/cut_names",
    "policy/decide",
    "policy/limits",
    "policy/order",
    "policy/peer_names",
    "policy/user_list",
    "cluster/acl",
    "cluster/events",
    "cluster/gaps",
    "cluster/inbound",
    "cluster/offset",
    "cluster/outbound",
    "cluster/pseudonym",
    "cluster/stream",
    "cluster/traffic",
    "cluster/wire",
    "config/engine_url",
    "config/values",
    "config/settings",
    "formats",
    "protocol",
    "sources/push/messages",
    "sources/push/http",
    "watch/alarm",
    "watch/deduplication",
    "dovecotcheck/doveconf",
    "dovecotcheck/elements",
    "dovecotcheck/findings",
    "dovecotcheck/judging",
    "dovecotcheck/origins",
    "dovecotcheck/push_snippets",
    "dovecotcheck/variables",
)
COMPUTES = {("address", "socket")}  # of it only inet_pton and inet_ntop, which touch nothing
IMPURE = {"os", "socket", "subprocess", "selectors", "threading", "pathlib", "io", "logging"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def within(module: str, rooms: Iterable[str]) -> str:
    """The innermost of these rooms that a module, a path without `.py`, is in; "" if it is in none."""
    found = [one for one in rooms if f"{module}/".startswith(f"{one}/")]
    return max(found, key=len, default="")


def room(module: str) -> str:
    return within(module, [one for rooms in FLOORS for one in rooms])


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def path_of(name: str) -> str:
    """The module that an import names, as a path: `popauthd.store` is `store/__init__`."""
    path = name.removeprefix("popauthd.").replace(".", "/")
    return f"{path}/__init__" if (PACKAGE / path).is_dir() else path


def imports(path: Path) -> set[str]:
    """What a module imports; a module that is imported from its package by its full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {_imported(node.module or "", alias.name) for alias in node.names}
    return found


def _imported(base: str, name: str) -> str:
    whole = ROOT.joinpath(*base.split("."), name)
    return f"{base}.{name}" if whole.is_dir() or whole.with_suffix(".py").exists() else base


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_module_imports_only_from_below(path: Path) -> None:
    module = str(path.relative_to(PACKAGE)).removesuffix(".py")
    if module == "__init__":
        assert imports(path) == set()
        return
    mine = room(module)
    for name in imports(path):
        top = name.partition(".")[0]
        if top == "popauthd" and name != "popauthd":
            theirs = room(path_of(name))
            below = floor(theirs) < floor(mine) or theirs == mine or (mine, theirs) in WITHIN_A_FLOOR
            assert below, f"{mine} (floor {floor(mine)}) imports {theirs} (floor {floor(theirs)})"
        if top in THIRD_PARTY:
            assert within(module, THIRD_PARTY[top]), f"{module} imports {top}"
        if within(module, PURE):
            assert top not in IMPURE or (mine, top) in COMPUTES, f"{module} is pure and imports {top}"


def test_every_module_has_a_floor() -> None:
    modules = {str(path.relative_to(PACKAGE)).removesuffix(".py") for path in MODULES} - {"__init__"}
    assert {room(module) for module in modules} == {name for rooms in FLOORS for name in rooms}
