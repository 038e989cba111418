"""What errors carry, and that nothing is decided by their words."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gpunb
from gpunb.python_errors import Lacks

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(gpunb.__file__).parent
TEXTS = {"message", "hint", "evalue", "strerror", "args"}
LOOKS = {"startswith", "endswith", "search", "match", "fullmatch", "findall", "find", "index", "count"}
#: Where another program's words come in and become a fact of ours: file, function, whose words.
EDGES = {
    ("agent/shared/variables.py", "_reason"): "pickle",
    ("services/provider_copies.py", "_follow"): "Vast.ai, of an instance",
    ("providers/http.py", "_once"): "OpenSSL",
    ("providers/vast/api.py", "_awaited"): "Vast.ai",
    ("sessions/ledger/connection.py", "_fault"): "SQLite",
    ("ssh/connection.py", "_refused"): "paramiko",
    ("ssh/handshake.py", "_exchange_keys"): "paramiko",
    ("sync/object_store/drivers.py", "open_store"): "fsspec",
    ("sync/watch.py", "_open"): "inotify, through watchfiles",
}


def decisions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Where the text of an error is searched or compared: function and line."""
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from ((function.name, line) for line in sorted(set(_of(function))))


def _of(function: ast.AST) -> Iterator[int]:
    nodes = list(_own(function))
    caught = {"err", "error", "failure", *(one.name for one in nodes if isinstance(one, ast.ExceptHandler))}
    words: set[str] = set()

    def worded(node: ast.AST) -> bool:
        """Whether it is, or is made of, the text of an error."""
        return any(
            (isinstance(one, ast.Attribute) and one.attr in TEXTS and not _is_self(one.value))
            or (isinstance(one, ast.Name) and one.id in words)
            or (
                isinstance(one, ast.Call)
                and isinstance(one.func, ast.Name)
                and one.func.id in {"str", "repr"}
                and any(isinstance(arg, ast.Name) and arg.id in caught for arg in one.args)
            )
            for one in ast.walk(node)
        )

    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Call, ast.Attribute)):
            told = node.value
            called = told.func if isinstance(told, ast.Call) else None
            if isinstance(called, ast.Name) and called.id not in {"str", "repr"}:
                continue  # what another function makes of it is a fact
            if worded(told):
                words |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            empty = any(isinstance(one, ast.Constant) and one.value in (None, "") for one in sides)
            searched = [
                side
                for how, side in zip(node.ops, node.comparators, strict=True)
                if isinstance(how, (ast.In, ast.NotIn))
            ]
            same = isinstance(node.ops[0], (ast.Eq, ast.NotEq)) and not empty
            if any(map(worded, sides if same else searched)):
                yield node.lineno
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LOOKS
            and any(map(worded, [node.func.value, *node.args]))
        ):
            yield node.lineno


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _own(node)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def test_nothing_is_decided_by_the_words_of_an_error() -> None:
    found = {
        (file.relative_to(PACKAGE).as_posix(), name): line
        for file in sorted(PACKAGE.rglob("*.py"))
        for name, line in decisions(ast.parse(file.read_text("utf-8")))
    }
    new = {place: line for place, line in found.items() if place not in EDGES}
    assert not new, "give the error a class or an attribute, and ask for that"
    assert not EDGES.keys() - found.keys(), "no longer an exception"


@pytest.mark.parametrize(
    "line",
    [
        'if "could mean" in err.message: pass',
        'if "locked" not in str(problem): pass',
        'text = str(problem).lower()\n        if "locked" in text: pass',
        'if err.hint == "add --yes": pass',
        'if (err.hint or "").startswith("add"): pass',
        "if PATTERN.search(problem.evalue): pass",
    ],
)
def test_a_decision_by_words_is_seen(line: str) -> None:
    code = f"def f():\n    try: pass\n    except ValueError as problem:\n        {line}"
    assert list(decisions(ast.parse(code)))


@pytest.mark.parametrize(
    "line",
    [
        "if err.hint is None: pass",
        'err.hint = err.hint or "more"',
        'log("%s", str(problem).partition("x")[0])',
        "if err.errno in (1, 2): pass",
        "lacks = Lacks.of(err.evalue)",
    ],
)
def test_showing_words_is_no_decision(line: str) -> None:
    code = f"def f():\n    try: pass\n    except ValueError as problem:\n        {line}"
    assert not list(decisions(ast.parse(code)))


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        ("No module named 'torch.nn'", Lacks(module="torch")),
        ("AttributeError: Can't get attribute 'Net' on <module '__main__'>", Lacks(cell_class="Net")),
        ("division by zero", None),
    ],
)
def test_what_python_lacks_is_read_from_its_own_words(said: str, fact: Lacks | None) -> None:
    assert Lacks.of(said) == fact
