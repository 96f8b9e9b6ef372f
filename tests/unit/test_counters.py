"""Every counter is a row of popauthd/counters.py, and every row is counted somewhere."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from popauthd.counters import COUNTERS
from popauthd.policy.order import NEVER, RULES
from popauthd.reasons import LOGINS, REFUSED
from popauthd.store.books import Books
from tests.support.helpers import ROOT

PACKAGE = ROOT / "popauthd"
TABLES = {"counters.py", "reasons.py"}
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if str(path.relative_to(PACKAGE)) not in TABLES]
# Where a name is counted that another place has given: the publisher's news, of which each has its name.
PASSED_ON = {("watch/housekeeping.py", "name")}


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def called(node: ast.AST) -> str:
    """The name of what a call calls, with what it is called on: `counters.add`, `Refusal`; "" if it is no call."""
    match node:
        case ast.Call(func=ast.Attribute(attr=attr, value=ast.Attribute(attr=owner) | ast.Name(id=owner))):
            return f"{owner}.{attr}"
        case ast.Call(func=ast.Name(id=name)):
            return name
    return ""


def counting(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions that name a counter in a statement or call that counts."""
    match node:
        case ast.AugAssign(target=ast.Subscript(value=ast.Name(id="counts") | ast.Attribute(attr="counts"), slice=key)):
            yield key
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="counts") | ast.Attribute(attr="counts"), slice=key)]):
            yield key
        case ast.Call(args=[ast.Dict(keys=keys), *_]) if called(node) in ("notes.count", "counters.add"):
            yield from (key for key in keys if key is not None)
        case ast.Call(args=[ast.Tuple(elts=[key, _])]) if called(node) == "_news.append":
            yield key


def names(path: Path, key: ast.expr) -> Iterator[str]:
    """The counters that an expression names; `*` stands for a part that is known only when the program runs."""
    match key:
        case ast.Constant(value=str(name)):
            yield name
        case ast.IfExp(body=body, orelse=orelse):
            yield from names(path, body)
            yield from names(path, orelse)
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), ast.FormattedValue()]):
            yield f"{start}*"
        case _:
            assert (str(path.relative_to(PACKAGE)), ast.unparse(key)) in PASSED_ON, f"{path}: {ast.unparse(key)}"


COUNTED = {name for path in MODULES for node in nodes(path) for key in counting(node) for name in names(path, key)}
CONSTANTS = {
    str(node.value)
    for path in MODULES
    for node in nodes(path)
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int)
}


def test_what_counts_is_found() -> None:
    assert {"lines", "gap", "granted.by-hand", "map.remade", "push.bad", "refused.*", "auth-policy.*"} <= COUNTED


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_what_is_counted_is_listed(name: str) -> None:
    assert fnmatch.filter(COUNTERS, name)


@pytest.mark.parametrize("name", COUNTERS)
def test_what_is_listed_is_counted(name: str) -> None:
    area, _, word = name.partition(".")
    assert name in COUNTED or (f"{area}.*" in COUNTED and word in CONSTANTS)


def first_arguments(*calls: str) -> set[object]:
    """The constants that stand first in calls of these functions anywhere in the package."""
    given = (
        node.args[0] for path in MODULES for node in nodes(path)
        if isinstance(node, ast.Call) and node.args and called(node) in calls
    )  # fmt: skip
    return {
        part.value for expression in given for part in ast.walk(expression)
        if isinstance(part, ast.Constant) and isinstance(expression, ast.Constant | ast.IfExp)
    }  # fmt: skip


def test_each_reason_of_a_refusal_has_its_counter() -> None:
    reasons = first_arguments("Refusal") - {None}
    assert {"torn", "future", "ambiguous", "wrong-process", "repeated"} <= reasons
    assert reasons <= REFUSED.keys()
    assert {reason for _network, reason in NEVER} | {rule.reason for rule in RULES} <= LOGINS.keys()
    assert {f"refused.{reason}" for reason in REFUSED} <= COUNTERS.keys()


def test_each_status_that_the_auth_policy_server_refuses_with_has_its_counter() -> None:
    statuses = first_arguments("Refused", "self._refuse") & set(range(1000))
    assert {400, 403, 431} <= statuses
    assert {f"auth-policy.{status}" for status in statuses} <= COUNTERS.keys()


def test_each_sentence_is_a_sentence() -> None:
    assert [text for text in COUNTERS.values() if not (text[:1].isupper() and text.endswith("."))] == []


def test_a_unit_test_that_counts_what_is_not_listed_fails(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "books.mdb"))
    with pytest.raises(AssertionError, match=r"not listed.*nonsense"), books.writing() as writing:
        writing.counters.add({"lines": 1, "nonsense": 1}, 1_795_467_600)
    books.close()
