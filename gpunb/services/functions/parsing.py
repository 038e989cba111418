"""The source of functions and classes, found in their file or cell, and the names that it uses."""

from __future__ import annotations

import ast
import functools
import linecache
import symtable
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NoSource", "Piece", "imported", "methods", "piece"]

_Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class NoSource(Exception):
    """The source can't be found; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A definition: its text as lines of its file from `line` on, its name, and the names that it uses."""

    text: str
    line: int
    name: str
    uses: frozenset[str]


def piece(raw: Any, name: str, ours: Callable[[str], bool]) -> Piece:
    """Find the definition of a function, class or lambda.

    Parameters
    ----------
    name
        The name that a lambda was given.
    ours
        Whether a decorator, given as dotted text, and those above it are left out.

    Raises
    ------
    NoSource
        There is none: it was typed at a prompt, made by ``exec``, or its file has changed since.
    """
    lines, node = _find(raw)
    if isinstance(node, ast.Lambda):
        text = ast.get_source_segment("".join(lines), node) or ""
        source = f"{name} = {text}\n"
        return Piece(source, node.lineno, name, _uses(source))
    kept = node.decorator_list
    for index, one in enumerate(kept):
        called = one.func if isinstance(one, ast.Call) else one
        if ours(ast.unparse(called)):
            kept = node.decorator_list[index + 1 :]
    first = min([node.lineno, *(one.lineno for one in kept)])
    text = "".join(lines[first - 1 : node.end_lineno])
    text = text if text.endswith("\n") else f"{text}\n"
    indented = text[:1].isspace()
    if indented:  # in its own block, since a text of several lines in it must stay as it is
        text, first = f"if 1:\n{text}", first - 1
    return Piece(text, max(first, 1), node.name, _uses(text))


def methods(cls: Any) -> Iterator[types.FunctionType]:
    """The functions that are written in a class's body."""
    for one in vars(cls).values():
        inner = getattr(one, "__func__", None) or getattr(one, "fget", None) or one
        if isinstance(inner, types.FunctionType) and inner.__qualname__.startswith(f"{cls.__qualname__}."):
            yield inner


def _find(raw: Any) -> tuple[list[str], _Defined | ast.Lambda]:
    if isinstance(raw, types.FunctionType):
        code = raw.__code__
        lines = linecache.getlines(code.co_filename, raw.__globals__)
        nodes = _nodes("".join(lines)) if lines else []
        fits = [node for node in nodes if _begins(node) == code.co_firstlineno]
        if raw.__name__ == "<lambda>":
            lambdas = [
                node for node in nodes if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
            ]
            if len(lambdas) == 1:
                return lines, lambdas[0]
            msg = "a lambda whose source can't be found: write it as a function"
            raise NoSource(msg)
        for node in fits:
            if not isinstance(node, ast.Lambda) and node.name == raw.__name__:
                return lines, node
        if lines:
            msg = "its file has changed since it was imported" if nodes else "its file holds no such Python"
            raise NoSource(msg)
        msg = "its source can't be found: it was typed at a prompt or made by exec"
        raise NoSource(msg)
    return _find_class(raw)


def _find_class(raw: type) -> tuple[list[str], ast.ClassDef]:
    name = raw.__qualname__.rpartition(".")[2]
    for lines in _class_files(raw):
        defs = [
            node for node in _nodes("".join(lines)) if isinstance(node, ast.ClassDef) and node.name == name
        ]
        if defs:
            return lines, defs[-1]
    msg = "a class whose source can't be found"
    raise NoSource(msg)


def _class_files(raw: type) -> Iterator[list[str]]:
    """Where a class may be written: beside its methods, in its module's file, in a cell of this notebook."""
    for method in methods(raw):
        yield linecache.getlines(method.__code__.co_filename, method.__globals__)
    module = sys.modules.get(raw.__module__)
    file = getattr(module, "__file__", None)
    if file:
        yield linecache.getlines(file)
    cells = getattr(module, "In", None)
    for cell in reversed(cells if isinstance(cells, list) else []):
        yield str(cell).splitlines(keepends=True)


def _begins(node: _Defined | ast.Lambda) -> int:
    """The line of the first decorator, as the code object has it."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


@functools.lru_cache(maxsize=64)
def _nodes(text: str) -> list[_Defined | ast.Lambda]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    try:
        return [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    except SyntaxError:  # a cell with magics in it
        return []


@functools.lru_cache(maxsize=256)
def _uses(source: str) -> frozenset[str]:
    """The global names that a definition uses when it is made or runs; not those of annotations alone."""
    tree = _Bare().visit(ast.parse(source))
    top = symtable.symtable(ast.unparse(ast.fix_missing_locations(tree)), "<piece>", "exec")
    found: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (
                (table is top and not symbol.is_assigned()) or (table is not top and symbol.is_global())
            ):
                found.add(symbol.get_name())
    return frozenset(found)


class _Bare(ast.NodeTransformer):
    """Takes annotations out: there they are never evaluated."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def imported(module: types.ModuleType | None, name: str) -> tuple[str, str] | None:
    """Module and member by which the module's file imports `name`; None if it does not."""
    file = getattr(module, "__file__", None)
    lines = linecache.getlines(file) if file else []
    return _imports("".join(lines)).get(name)


@functools.lru_cache(maxsize=64)
def _imports(text: str) -> dict[str, tuple[str, str]]:
    result: dict[str, tuple[str, str]] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return result
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            result.update({name.asname or name.name: (node.module, name.name) for name in node.names})
    return result
