"""The places of a Python text where a mutant can be made, and what is put there. See mutants.py."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Iterator

COMPARED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
COUNTED = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
CALLED = {
    "min": "max", "max": "min", "any": "all", "all": "any",
    "stat": "lstat", "lstat": "stat", "startswith": "endswith", "endswith": "startswith",
    "partition": "rpartition", "rpartition": "partition", "find": "rfind", "rfind": "find",
    "index": "rindex", "fullmatch": "match", "match": "search", "search": "match",
    "lower": "upper", "lstrip": "rstrip", "rstrip": "lstrip", "sorted": "list",
    "append": "remove", "bisect_left": "bisect_right", "bisect_right": "bisect_left",
}  # fmt: skip
EMPTY = {"bool": "False", "int": "0", "str": '""', "bytes": 'b""', "list": "[]", "tuple": "()", "dict": "{}"}
LOGGERS = {"log", "logger", "logging"}
Spliced = tuple[int, int, str]  # from, to, and what is put there


class Finder(ast.NodeVisitor):
    """Collects the places of a file where something can be exchanged; `sites` has what, for each of them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sites: list[list[Spliced]] = []
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._text = source.splitlines(keepends=True)
        self._returns = [""]  # the annotations of the functions we are in
        self._given: set[str] = set()  # the names that have another value already
        self._silent = False  # whether texts are for a reader alone

    def _place(self, line: int, column: int) -> int:
        """An offset in the text; columns count bytes of UTF-8."""
        return self._lines[line - 1] + len(self._text[line - 1].encode()[:column].decode())

    def _span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._place(node.lineno, node.col_offset), self._place(node.end_lineno, node.end_col_offset)

    def _text_of(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self.source[start:end]

    def _put(self, node: ast.expr | ast.stmt, *texts: str) -> None:
        start, end = self._span(node)
        self.sites.append([(start, end, text) for text in texts])

    def _between(self, left: ast.expr, right: ast.expr, sign: str, new: str) -> None:
        """Exchange the sign that stands between two operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        words = re.escape(sign).replace(r"\ ", r"\s+")
        found = re.search(rf"\b{words}\b" if sign[0].isalpha() else words, self.source[start:end])
        if found:
            self.sites.append([(start + found.start(), start + found.end(), new)])

    # Definitions: what is not code, or not the code's, is not visited.
    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self._returns.append("" if node.returns is None else self._text_of(node.returns))
        given, self._given = self._given, _given(node)
        for step in _code(node.body):
            self.visit(step)
        self._given = given
        self._returns.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        returns, self._returns = self._returns, [""]
        for step in _code(node.body):
            self.visit(step)
        self._returns = returns

    def visit_Module(self, node: ast.Module) -> None:
        for step in _code(node.body):
            self.visit(step)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Where its parts stand is not told before Python 3.12."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    # Statements.
    def _remove(self, node: ast.stmt) -> None:
        if len(self._returns) > 1:  # in a function; elsewhere nothing would start
            self._put(node, "pass")

    def visit_Assign(self, node: ast.Assign) -> None:
        named = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if not named & {"__all__", "TYPE_CHECKING", "__version__"} and not _is_type(node.value):
            if named <= self._given:  # without its only value a name is an error at once, which any test sees
                self._remove(node)
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._remove(node)
        if type(node.op) in COUNTED and not _is_text(node.value):
            self._between(node.target, node.value, *COUNTED[type(node.op)])
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant) and not _is_log(node.value):
            self._remove(node)
            self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._remove(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._put(node, "break", "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self._put(node, "continue", "pass")

    def visit_Raise(self, node: ast.Raise) -> None:
        self._remove(node)
        self._visit_silently(node)

    def _visit_silently(self, node: ast.AST) -> None:
        """Visit all but the texts."""
        self._silent, silent = True, self._silent
        self.generic_visit(node)
        self._silent = silent

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self._put(node, "pass")
            return
        returns, value = self._returns[-1], self._text_of(node.value)
        empty = [text for name, text in EMPTY.items() if re.search(rf"\b{name}\b", returns)]
        news = [new for new in ({"None"} if returns.endswith("None") else set()) | set(empty[:1]) if new != value]
        if returns == "bool":
            news.append(f"not ({value})")
        self._put(node, *[f"return {new}" for new in sorted(news) or ["None"]], "pass")
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self._turn(node.test)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self._put(node.type, "()")
        for step in node.body:
            self.visit(step)

    # Expressions.
    def _turn(self, test: ast.expr) -> None:
        """A condition and its contrary; where turning its one sign says the same, that is done elsewhere."""
        signs = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
        turned = isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], signs)
        if not turned and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            self._put(test, f"(not ({self._text_of(test)}))")

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._turn(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._turn(test)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, op, right in zip(operands, node.ops, operands[1:], strict=False):
            self._between(left, right, *COMPARED[type(op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        signs = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in itertools.pairwise(node.values):
            self._between(left, right, *signs)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._put(node, self._text_of(node.operand))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in COUNTED and not _is_text(node):
            self._between(node.left, node.right, *COUNTED[type(node.op)])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _is_log(node):
            return
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in CALLED:
            end = self._span(node.func)[1]
            self.sites.append([(end - len(name), end, CALLED[name])])
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        given.sort(key=lambda argument: (argument.lineno, argument.col_offset))
        last = [argument for argument in node.args if not isinstance(argument, ast.Starred)][-1:]
        for before, argument in itertools.pairwise(given):
            if argument in last or argument in node.keywords:
                self.sites.append([(self._span(before)[1], self._span(argument)[1], "")])
        if name == "warn":
            self._visit_silently(node)
        else:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._put(node, str(not value))
        elif isinstance(value, int):
            self._put(node, str(value + 1), str(value - 1))
        elif isinstance(value, float):
            self._put(node, str(value * 2), str(value / 2))
        elif isinstance(value, str | bytes) and value and not self._silent:
            text = self._text_of(node)
            opening = re.match(r"[A-Za-z]*(?:\"\"\"|'''|[\"'])", text)
            assert opening is not None, text
            self._put(node, 'b""' if isinstance(value, bytes) else '""', opening[0] + "x" + text[opening.end() :])


def _code(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body that do something at run time."""
    for step in body:
        typing = isinstance(step, ast.If) and isinstance(step.test, ast.Name) and step.test.id == "TYPE_CHECKING"
        if not isinstance(step, ast.Import | ast.ImportFrom) and not typing:
            yield step


def _given(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names that a function is given, or gives a value at more than one place."""
    stored = Counter(n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    arguments = {n.arg for n in ast.walk(function.args) if isinstance(n, ast.arg)}
    return arguments | {name for name, times in stored.items() if times > 1}


def _is_log(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in LOGGERS
    )


def _is_type(node: ast.expr) -> bool:
    """Whether an expression is a union of types."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and _is_type(node.left) and _is_type(node.right)
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and (
        getattr(node, "id", getattr(node, "attr", "x"))[:1].isupper()
    )


def _is_text(node: ast.expr) -> bool:
    """Whether an expression joins texts, so that its sign is no arithmetic."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
