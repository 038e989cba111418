"""What the documentation names is there: files, modules, names in them, links; packages say what they are."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
)
CONFIG = [ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / ".ci" / "generate.py"]
SOURCES = sorted(ROOT.glob("gpunb/**/*.py"))
PACKAGES = sorted(ROOT.glob("gpunb/**/__init__.py"))

# a path of this repository; `path:name` is a function or class of that file
PATH = re.compile(
    r"(?<![\w/.~-])((?:gpunb|tests|labextension|docs|examples|benchmarks|\.ci)/[\w./-]*\w/?)(?::([A-Za-z_]\w*))?"
)
DOTTED = re.compile(r"(?<![\w/.-])gpunb(?:\.[a-z_]\w*)+(?:\.[A-Z]\w*)?")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
#: Files, entry-point groups and the like, which look like modules.
NO_MODULES = ("gpunb.toml", "gpunb.providers", "gpunb.verbs", "gpunb.json", "gpunb.log", "gpunb.com")
#: Pages that only the site has, made by `.ci/docs.py`.
MADE = ("verbs/index.md", "api/index.md")
#: Paths of other things: the API's address, what is built.
NO_FILES = ("gpunb/api/",)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def defined(file: Path, *, imported: bool = False) -> set[str]:
    """Functions, classes, methods and constants of a module; on request the names that it imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom) and imported:
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def missing_paths(text: str) -> list[str]:
    out = []
    for path, symbol in PATH.findall(text):
        if path.startswith(NO_FILES):
            continue
        file = ROOT / path
        if not file.exists():
            out.append(path)
        elif symbol and symbol not in defined(file):
            out.append(f"{path}:{symbol}")
    return out


def known(dotted: str) -> bool:
    """Whether it is a module, or a name in one."""
    words = dotted.split(".")
    for count in range(len(words), 0, -1):
        place = ROOT.joinpath(*words[:count])
        if place.is_dir() or place.with_suffix(".py").is_file():
            break
    if count == len(words):
        return True
    found: object = importlib.import_module(".".join(words[:count]))
    for word in words[count:]:
        fields = getattr(found, "__annotations__", {})  # a field without a default is no attribute
        if word in fields:
            return True
        if not hasattr(found, word):
            return False
        found = getattr(found, word)
        if isinstance(found, ModuleType):  # one that is there was found above; this is an old name's
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_name_what_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert missing_paths(text) == []
    dotted = {found for found in DOTTED.findall(text) if not found.startswith(NO_MODULES)}
    assert [one for one in sorted(dotted) if not known(one)] == []
    links = [link for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if link not in MADE and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("file", CONFIG, ids=name)
def test_settings_name_what_is_there(file: Path) -> None:
    assert [path for path in missing_paths(file.read_text("utf-8")) if not any(ROOT.glob(f"{path}*"))] == []


def test_docstrings_name_what_is_there() -> None:
    """`gpunb.x.y` in backticks, in comments and docstrings of the package."""
    named = {
        (name(file), dotted)
        for file in SOURCES
        for dotted in re.findall(r"`(gpunb(?:\.\w+)+)`", file.read_text("utf-8"))
        if not dotted.startswith(NO_MODULES)
    }
    assert [found for found in sorted(named) if not known(found[1])] == []


@pytest.mark.parametrize("file", PACKAGES, ids=name)
def test_packages_say_what_they_are(file: Path) -> None:
    """A sentence, then more; the modules that it names are in it."""
    doc = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    assert doc is not None
    first, *rest = doc.splitlines()
    assert first[0].isupper()  # a sentence, not "move: the plan …"
    assert first.endswith(".")
    assert rest  # what it is, then where to look or what holds in it
    modules = re.findall(r"(?<!`)`([a-z_]+)`(?!`)", doc)
    inside = {path.stem for path in file.parent.iterdir()} | defined(file, imported=True)
    assert [module for module in modules if module not in inside] == []
