"""Every text that an error can have is in one file, to be read from top to bottom.

`messages.txt` has the texts of all raise sites, with {…} for what is filled in; below them is what a
terminal shows of each verb when it is used wrongly.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import gpunb as package
from gpunb import errors
from gpunb.cli.registry import VERBS, module_name, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest
    from support.machines.terminal import Gpunb

PACKAGE = Path(package.__file__).parent
FILE = Path(__file__).with_name("messages.txt")
REFRESH = "GPUNB_REFRESH"
FILLED = "{…}"
MOST = 12  # alternatives of one text
KINDS = {"hint": "next", "bill": "bill", "undone": "bill"}
#: Names that hold what happened until it is raised, and helpers that are given a part of it.
HELD = {"msg", "message"}
HELPERS = {"fault", "expected", "_refuse", "_bad", "refuse"}


def texts(node: ast.expr, held: dict[str, list[ast.expr]], depth: int = 0) -> list[str]:
    """What an expression may come to, with {…} for what is filled in."""
    found = [FILLED]
    if isinstance(node, ast.Constant):
        found = [node.value] if isinstance(node.value, str) else []
    elif isinstance(node, ast.JoinedStr):
        found = ["".join(str(one.value) if isinstance(one, ast.Constant) else FILLED for one in node.values)]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = texts(node.left, held, depth), texts(node.right, held, depth)
        found = ["".join(pair) for pair in product(*sides)]
    elif isinstance(node, ast.IfExp):
        found = texts(node.body, held, depth) + texts(node.orelse, held, depth)
    elif isinstance(node, ast.BoolOp):
        found = [text for one in node.values for text in texts(one, held, depth)]
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "typed":
        words = [one.value if isinstance(one, ast.Constant) else FILLED for one in node.args]
        found = [" ".join(["gpunb", *map(str, words)])]
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "format":
        found = texts(node.func.value, held, depth)  # type: ignore[attr-defined]
    elif isinstance(node, ast.Name) and node.id in held and depth < 2:
        found = [text for one in held[node.id] for text in texts(one, held, depth + 1)]
    return list(dict.fromkeys(found))[:MOST]


def kinds() -> set[str]:
    """The names of our errors' classes, also of those that a module has for itself."""
    known = set(errors.__all__)
    bases = {
        node.name: {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    while more := {name for name, of in bases.items() if of & known} - known:
        known |= more
    return known


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The modules whose errors a verb can show: not the simulated clouds or a host's program."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).as_posix()
        if not name.startswith(("agent/", "sim/", "providers/contract")):
            yield name, ast.parse(file.read_text("utf-8"))


def raised() -> set[str]:
    """The texts of all raise sites: ``what: …``, ``bill: …``, ``next: …``."""
    ours, found = kinds(), set()
    for _, tree in modules():
        for scope in ast.walk(tree):
            if not isinstance(scope, (ast.FunctionDef, ast.Module)):
                continue
            held: dict[str, list[ast.expr]] = {}
            for node in own(scope):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    held.setdefault(node.targets[0].id, []).append(node.value)
            for node in own(scope):
                for kind, value in said(node, ours):
                    found |= {f"{kind}: {flat(text)}" for text in texts(value, held)}
    return {
        line
        for line in found
        if re.search(r"[a-z]{2}.* |^next: ", line.partition(": ")[2].replace(FILLED, ""))
    }


def said(node: ast.AST, ours: set[str]) -> Iterator[tuple[str, ast.expr]]:
    """What a node says in an error, and as which part of it."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in ours or name in HELPERS:
            yield from (("what", one) for one in node.args if not isinstance(one, ast.Starred))
        yield from ((KINDS[one.arg], one.value) for one in node.keywords if one.arg in KINDS)
    elif isinstance(node, ast.Assign):
        target = node.targets[0]
        name = getattr(target, "id", getattr(target, "attr", ""))
        if name in HELD:
            yield "what", node.value
        elif name in KINDS:
            yield KINDS[name], node.value


def own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, or of a module outside of its functions."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, ast.FunctionDef):
            yield from own(node)


def flat(text: str) -> str:
    return " ".join(text.split())


def shown(gpunb: Gpunb) -> Iterator[str]:
    """What a terminal shows of each verb with an option that is not there, and of a session that is not."""
    for name in VERBS:
        command = importlib.import_module(module_name(name)).command
        yield from told(gpunb, [*name.split(), "--no-such-option"])
        if any("--session" in one.opts for one in command.params):
            _, words = split(shlex.split(command.example.splitlines()[0]))
            yield from told(gpunb, [*name.split(), "--session", "nosuch", *words])


def told(gpunb: Gpunb, args: list[str]) -> Iterator[str]:
    ran = gpunb(*args)
    yield ""
    yield f"$ gpunb {shlex.join(args)}"
    yield from (line.rstrip() for line in ran.err.splitlines())


def page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def test_every_message_is_on_the_page(gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    now = page([*sorted(raised()), *shown(gpunb)])
    if os.environ.get(REFRESH):
        FILE.write_text(now, encoding="utf-8")
    kept = FILE.read_text("utf-8")
    new, old = set(now.splitlines()) - set(kept.splitlines()), set(kept.splitlines()) - set(now.splitlines())
    assert now == kept, f"read the new texts, then run this test with {REFRESH}=1 to keep them:\n" + page(
        [*(f"+ {line}" for line in sorted(new)), *(f"- {line}" for line in sorted(old))]
    )
