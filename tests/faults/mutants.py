"""The mutants of a Python file: the same text with one small fault in it, as a tired programmer would make it.

Made from the syntax tree, and put into the text, so that everything else stays as it is. Left alone is what decides
nothing: docstrings, annotations, decorators, imports, `__all__`, f-strings, calls of a logger, and the texts of errors.
"""

from __future__ import annotations

import ast
import itertools
import random
import re
import types
from dataclasses import dataclass

from tests.faults.places import Finder


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file with one fault. line: where it begins.

    before, after: the lines that differ, without their margins, and those before them where the file has them twice.
    """

    file: str
    line: int
    before: str
    after: str
    text: str


def sample(file: str, source: str, seed: int, count: int, harmless: Harmless) -> list[Mutant]:
    """`count` mutants of a file, each of another place, drawn by the seed; in the order of the file."""
    chance = random.Random(f"{seed} {file}")
    finder = Finder(source)
    finder.visit(ast.parse(source))
    chance.shuffle(finder.sites)
    drawn: list[Mutant] = []
    original = _meaning(compile(source, file, "exec"))
    for site in finder.sites:
        chance.shuffle(site)
        fitting = (
            m for m in (_mutant(file, source, original, *splice) for splice in site) if m and not harmless.has(m)
        )
        drawn += itertools.islice(fitting, 1)
        if len(drawn) == count:
            break
    return sorted(drawn, key=lambda mutant: mutant.line)


class Harmless:
    """The mutants that change nothing anybody could notice, by file and the lines that differ.

    A list is blocks of lines, with an empty line between them: the file, `- ` and what stands there, `+ ` and the
    mutant (`*`: whatever becomes of it), `# ` and why it is harmless. So a survivor can be copied from the report.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError on a block that has another form."""
        self.rows: dict[tuple[str, str], set[str]] = {}
        for block in text.strip().split("\n\n"):
            found = re.fullmatch(r"([^\n]+)\n- ([^\n]+)\n\+ ([^\n]*)\n((?:# [^\n]+\n?)+)", block)
            if block and found is None:
                raise ValueError(f"this block does not name a file, `- `, `+ ` and `# `:\n{block}")
            if found is not None:
                self.rows.setdefault((found[1], found[2]), set()).add(found[3])

    def has(self, mutant: Mutant) -> bool:
        """Whether this mutant is in the list."""
        return bool({"*", mutant.after} & self.rows.get((mutant.file, mutant.before), set()))


def _mutant(file: str, source: str, original: object, start: int, end: int, new: str) -> Mutant | None:
    """The mutant that has `new` from start to end; None where it says the same, or is no Python."""
    text = source[:start] + new + source[end:]
    try:
        if _meaning(compile(text, file, "exec")) == original:
            return None
    except (SyntaxError, ValueError):
        return None
    head, tail = source.rfind("\n", 0, start) + 1, (source + "\n").find("\n", end)
    line = source.count("\n", 0, head) + 1
    while head and _stripped(source).count(_stripped(source[head:tail])) > 1:  # which of them, the lines before tell
        head = source.rfind("\n", 0, head - 1) + 1
    before, after = source[head:tail], source[head:start] + new + source[end:tail]
    return Mutant(file, line, _flat(before), _flat(after), text)


def _meaning(code: types.CodeType) -> object:
    """What compiled code does, without its line numbers."""
    constants = [_meaning(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, code.co_exceptiontable, constants


def _stripped(text: str) -> str:
    return "\n" + "\n".join(line.strip() for line in text.split("\n")) + "\n"


def _flat(text: str) -> str:
    return " ".join(line.strip() for line in text.split("\n"))
