"""What keeps the source findable: folders that fit a screen, and modules that import alone."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MOST = 15  # modules beside each other
LONGEST = 500  # lines of a module


def modules(top: str) -> list[Path]:
    return [path for path in (ROOT / top).rglob("*.py") if "__pycache__" not in path.parts]


@pytest.mark.parametrize("top", ["gpunb", "tests", "benchmarks"])
def test_a_folder_holds_what_a_reader_takes_in(top: str) -> None:
    beside = Counter(path.parent for path in modules(top) if path.name != "__init__.py")
    full = {str(folder.relative_to(ROOT)): count for folder, count in beside.items() if count > MOST}
    assert not full


def test_a_module_is_read_in_one_go() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules("gpunb")}
    assert not {name: count for name, count in lines.items() if count > LONGEST}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def at_load(path: Path) -> Iterator[str]:
    """The modules that `path` imports while it is imported itself: not in functions, not for types only."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{one.name}" for one in node.names)
        todo += ast.iter_child_nodes(node)


def test_no_import_goes_in_a_circle() -> None:
    """A circle at load time shows only in an order of imports that is not ours; a user's may be it."""
    files = {name_of(path): path for path in modules("gpunb")}
    leads: dict[str, set[str]] = {}
    for name, path in files.items():
        found: set[str] = set()
        for target in at_load(path):
            parts = target.split(".")
            # a package is imported before what is in it; a module's own packages have begun already
            found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)} & set(files)
        leads[name] = {one for one in found if one != name and not name.startswith(f"{one}.")}
    while leads:
        ends = {name for name, on in leads.items() if not on & set(leads)}
        if not ends:
            break
        leads = {name: on for name, on in leads.items() if name not in ends}
    begun: set[str] = set()  # what only leads to a circle is none
    while leads:
        reached = {one for on in leads.values() for one in on}
        begun = {name for name in leads if name not in reached}
        if not begun:
            break
        leads = {name: on for name, on in leads.items() if name not in begun}
    assert {name: sorted(on & set(leads)) for name, on in leads.items()} == {}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


@pytest.mark.parametrize(
    ("rooms", "shared"),
    [
        ("gpunb/commands", {"gpunb.commands.parts"}),
        ("gpunb/server/handlers", {"gpunb.server.handlers.base"}),
    ],
)
def test_no_verb_imports_a_verb_and_no_handler_a_handler(rooms: str, shared: set[str]) -> None:
    above = rooms.replace("/", ".")
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules(rooms)}
    for path in modules(rooms):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if own.startswith(f"{above}.parts"):
            continue
        others = {name for name in imported(path) & names if name != own and name.startswith(above)}
        assert not {one for one in others if not any(one.startswith(root) for root in shared)}, path
