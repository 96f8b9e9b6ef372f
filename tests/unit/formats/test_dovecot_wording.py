"""The words of Dovecot's lines: said in one place, so that the grammar and the fast path cannot differ in them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from popauthd.formats import dovecot_wording as wording
from tests.support.helpers import ROOT

BUILT_FROM_IT = ["fast_path.py", "servers/dovecot.py"]
SAID_ONCE = [
    wording.LOGIN_PROCESS,
    *(word + b": " for word in wording.WORDS),
    *map(wording.begin, ("user", "method", "rip", "lip", "session")),
]


def literals(path: Path) -> list[bytes]:
    """The text and byte literals of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [one.encode() if isinstance(one, str) else one for one in found if isinstance(one, str | bytes)]


@pytest.mark.parametrize("file", BUILT_FROM_IT)
def test_a_word_of_dovecots_lines_is_said_once(file: str) -> None:
    texts = literals(ROOT / "popauthd/formats" / file)
    assert texts
    assert [(word, text) for word in SAID_ONCE for text in texts if word in text] == []


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("user", b"user=<x>"), ("session", b"session=<x>"), ("rip", b"rip=x"), ("method", b"method=x")],
)
def test_an_element_stands_in_brackets_where_dovecot_puts_them(name: str, pattern: bytes) -> None:
    assert wording.element(name, b"x") == pattern
