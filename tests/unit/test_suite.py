"""The suite itself: every test asserts something, so that every test can fail."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.helpers import ROOT

# Helpers that fail when what they are told to look for is not so; each must assert, or call one that does.
OF_PYTEST = {"raises", "fail"}
ASSERTING = OF_PYTEST | {
    "asked_as_before",
    "counted",
    "eventually",
    "exactly_the_good_ones",
    "linear",
    "reads_as_the_daemon",
    "relays",
    "relays_soon",
    "relays_when_asked",
    "says",
    "wait_for",
    "wait_until",
}
FILES = sorted((ROOT / "tests").rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def called(node: ast.AST) -> set[str]:
    names = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
    return {name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "") for name in names}


def asserts(node: ast.AST) -> bool:
    """Whether something in a function can fail; `assert True` cannot."""
    tests = [one.test for one in ast.walk(node) if isinstance(one, ast.Assert)]
    return any(not isinstance(test, ast.Constant) for test in tests) or not called(node).isdisjoint(ASSERTING)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_asserts_something(path: Path) -> None:
    tests = [function for function in functions(path) if function.name.startswith("test_")]
    assert [test.name for test in tests if not asserts(test)] == []


def test_every_helper_that_counts_as_asserting_does() -> None:
    found = {one.name: one for path in FILES for one in functions(path) if one.name in ASSERTING - OF_PYTEST}
    assert found.keys() == ASSERTING - OF_PYTEST
    lame = [
        name
        for name, one in found.items()
        if not asserts(one) and not any(isinstance(node, ast.Raise) for node in ast.walk(one))
    ]
    assert lame == []


@pytest.mark.parametrize(
    ("body", "right"),
    [("f()", False), ("assert True", False), ("assert f()", True), ("x.eventually(f)", True), ("f('assert')", False)],
)
def test_what_counts_as_an_assertion(body: str, right: bool) -> None:
    assert asserts(ast.parse(body)) is right


def test_no_test_module_is_imported_and_each_folder_stands_on_support_alone() -> None:
    """What several tests share is in tests/support; a test is no place to look for a helper."""
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) and node.module else ""
            words = module.split(".")
            own = path.relative_to(ROOT).parts
            if words[0] != "tests" or len(words) < 2:
                continue
            if words[-1].startswith("test_") or (own[1] == "unit" and words[1] in ("faults", "system", "package")):
                wrong.append(f"{path.relative_to(ROOT)}: {module}")
    assert wrong == []
