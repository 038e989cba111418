"""What a message tells people to type is in the grammar: its verb, and each option of it.

Every sentence of the package is looked at, also those that no test can provoke, and every line of the docs.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import gpunb
from gpunb.cli.main import cli
from gpunb.cli.registry import ALIASES, CLOUDS, VERBS, further_verbs, load
from gpunb.notebook.cell_magic import CELL
from gpunb.settings import ProviderSettings, SecretsSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(gpunb.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py"))
PAGES = sorted(
    page.relative_to(ROOT).as_posix() for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
)
# verbs that are words of English or programs, too: they count behind gpunb or %gpu only
ENGLISH = {
    "on",
    "off",
    "run",
    "get",
    "put",
    "top",
    "show",
    "start",
    "stop",
    "cost",
    "exec",
    "pip",
    "ps",
    "ssh",
}
# options of other programs that a module speaks of
OTHERS = {
    "services/running/host_python.py": {"--upgrade"},
    "providers/__init__.py": {"--upgrade"},
    "sessions/ledger/connection.py": {"--upgrade"},
    "sim/hosts/smi.py": {"--query-gpu", "--format"},
    "sync/rsync.py": {"--chmod", "--version", "--out-format"},
}
SETTINGS = {
    *Settings.model_fields,
    *ProviderSettings.model_fields,
    *SecretsSettings.model_fields,
    "accept_terms",  # DeepInfra's own
    "dry_run",  # an argument of the Python API's sync
    "sshd_config",
    "max_user_watches",
}
# texts that one frontend alone shows, and one that is no command
ONE_FRONTEND = {
    "cli/blocked_output.py": {"%gpu logs"},
    "commands/running/on.py": {"%gpu on"},
    "presentation/shapes.py": {"%gpu receipts"},
    "commands/watching/top.py": {"%gpu top"},
    "notebook/cell_magic.py": {"%gpu attach"},
    "notebook/kernel_proxy/host_kernel.py": {"gpunb logs", "gpunb trust"},
    "notebook/widgets/fallback.py": {"%gpu rent", "%gpu panel"},
    "notebook/widgets/picker.py": {"%gpu login"},
    "notebook/widgets/rental.py": {"%gpu ps"},
    "notebook/widgets/searching.py": {"%gpu login"},
    "output/late.py": {"gpunb logs"},
    "output/sinks.py": {"%gpu logs"},
    "server/schemas.py": {"gpunb offers"},
    "settings/files.py": {"gpunb sim"},
    "sync/object_store/drivers.py": {"gpunb runs"},
}
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
FURTHER = ("sim", "mcp")
NAMES = "|".join([*FURTHER, *VERBS, *ALIASES])
CLOUD = f"(?:{'|'.join(CLOUDS)}) "
LINE = re.compile(
    rf"(?:(\bgpunb|%?%gpu) ((?:{CLOUD})?[a-z]+)|(?<![\w-])({NAMES}))(?![\w-])"
    r"(?=((?: (?!and |or |then )[^\s;,()`|]+)*))"
)
SPAN = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.DOTALL | re.MULTILINE)


def verb(name: str) -> click.Command | None:
    """The verb that is typed as `name`."""
    if name in FURTHER:
        further: click.Command = further_verbs()[name].load()
        return further
    name = ALIASES.get(name, name)
    return load(name) if name in VERBS else None


@cache
def options(name: str) -> frozenset[str]:
    """The options of a verb, and of the verbs in it."""
    made = verb(name)
    inside = getattr(made, "commands", {}).values() if made else ()
    params = [one for each in (made, *inside) if each for one in each.params]
    return frozenset({"-h", "--help"}.union(*((*one.opts, *one.secondary_opts) for one in params)))


EVERY = frozenset(
    {"--version"}.union(
        *(one.opts for one in (*cli.params, *CELL.params)), *(options(name) for name in [*VERBS, *FURTHER])
    )
)


def not_typeable(text: str, *, whole: bool = False) -> Iterator[str]:
    """Verbs and their options in `text` that are not in the grammar; `whole`: all of it is to be typed."""
    for prefix, behind, alone, rest in LINE.findall(text):
        name = behind or alone
        words = list(takewhile(lambda word: word != "--", rest.split()))
        made = verb(name)
        if prefix == "%%gpu":
            continue
        if made is None:
            if prefix and whole and name not in {"help", "version"}:
                yield f"{prefix} {name}"
            continue
        if not prefix and (name in ENGLISH or name in ALIASES or not words or not words[0].startswith("-")):
            continue
        if not made.context_settings.get("allow_interspersed_args", True):
            words = list(takewhile(lambda word: word.startswith("-"), words))
        for word in words:
            option = re.match(r"--?[A-Za-z][\w-]*", word)
            if option and option[0] not in options(name):
                yield f"{name} {option[0]}"


def not_there(text: str, allowed: frozenset[str]) -> Iterator[str]:
    """Options in `text` that are none of `allowed`, nor of a verb that it names."""
    if not OPTION.search(text):
        return
    named = set(re.findall(r"[\w-]+", text.partition(" -- ")[0]))
    named |= {name for name in VERBS if " " in name and name in text}
    more = [options(name) for name in named if verb(name)]
    for option in OPTION.findall(text.partition(" -- ")[0]):
        if not option.startswith("--jp-") and option not in allowed.union(*more):
            yield option


def sayable(name: str) -> frozenset[str]:
    """The options that a message of this module may name by themselves: those of its verb."""
    folder, _, file = name.rpartition("/")
    found = EVERY
    if folder.startswith("commands/") and folder != "commands/parts" and file != "__init__.py":
        stem = file.removesuffix(".py")
        found = options(stem if stem in VERBS else f"{folder.rpartition('/')[2]} {stem}") | {"-v"}
    elif re.match(r"providers/(vast/create|vast/onstart|fluence/|cloudinit)", name):
        found = options("rent")
    elif folder == "sync":
        found = options("sync")
    return found | OTHERS.get(name, set())


def typed_line(node: ast.AST) -> str:
    """What a call of `gpunb.hints.typed` gives, with "…" for what is filled in; "" if it is none."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "typed":
        return ""
    words = [one.value if isinstance(one, ast.Constant) else "…" for one in node.args]
    return " ".join(["gpunb", *map(str, words)])


def sentences(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """The texts of a module with the line that each begins in; what is filled in is "…"."""
    inside: set[int] = set()
    for node in nodes:
        if id(node) in inside:
            continue
        if command := typed_line(node):
            inside.update(map(id, ast.walk(node)))
            yield node.lineno, command
        elif isinstance(node, ast.JoinedStr):
            inside.update(map(id, node.values))
            parts = [one.value if isinstance(one, ast.Constant) else "…" for one in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def hints(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """The texts of a module that are given as a hint."""
    for node in nodes:
        value = node.value if isinstance(node, ast.keyword) and node.arg == "hint" else None
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "hint":
            value = node.value
        if value is not None:
            yield from sentences(list(ast.walk(value)))


def faults(name: str) -> Iterator[str]:
    """What a module tells people to type and they can't."""
    nodes = list(ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))))
    for line, text in sentences(nodes):
        if (
            " " in text and "-" in text and not ("\n" in text and "$" in text)
        ):  # words and programs for others
            for one in (*not_typeable(text), *not_there(text, sayable(name))):
                yield f"{name}:{line}: {one} in {text[:80]!r}"
    for line, text in hints(nodes):
        for one in re.findall(r"\b[a-z]+_[a-z_]+\b", text):
            if one not in SETTINGS:
                yield f"{name}:{line}: {one} can't be set"


def test_what_messages_say_to_type() -> None:
    assert not [one for name in MODULES for one in faults(name)]


def outside_help(tree: ast.Module) -> list[ast.AST]:
    """The nodes of a module without docstrings, options' help and examples, which click shows."""
    shown: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            shown.add(id(body[0].value))
        if isinstance(node, ast.keyword) and node.arg in {"help", "example"}:
            shown.update(map(id, ast.walk(node.value)))
    return [node for node in ast.walk(tree) if id(node) not in shown]


@pytest.mark.parametrize("name", [one for one in MODULES if not one.startswith(("agent/", "sim/"))])
def test_a_command_is_a_verb_with_its_words(name: str) -> None:
    """No text has the command's name in it: what is typed differs between frontends."""
    nodes = outside_help(ast.parse((PACKAGE / name).read_text(encoding="utf-8")))
    found = {
        match[0]
        for node in nodes
        for line, text in sentences([node, *ast.walk(node)] if isinstance(node, ast.JoinedStr) else [node])
        if not typed_line(node)
        for match in re.finditer(rf"(?:\bgpunb|(?<!%)%gpu) (?:{NAMES})(?![\w-])", text)
    }
    assert found <= ONE_FRONTEND.get(name, set()), "use gpunb.hints.typed"


def test_each_typed_command_is_in_the_grammar() -> None:
    bad = []
    for name in MODULES:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            bad += [f"{name}: {one}" for one in not_typeable(typed_line(node), whole=True)]
    assert not bad


def test_what_the_docs_say_to_type() -> None:
    bad = []
    for page in PAGES:
        spans = SPAN.findall((ROOT / page).read_text(encoding="utf-8"))
        for line in [line for block, span in spans for line in (block or span).splitlines()]:
            if re.match(r"\s*(\$ )?(gpunb|%gpu) ", line):
                bad += [f"{page}: {one}" for one in not_typeable(line.partition("#")[0], whole=True)]
    assert not bad


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("gpunb rent --offering 0.2", ["rent --offering"]),
        ("type gpunb down NAME --now, then gpunb ps", ["down --now"]),
        ("extend --money 3 sets one", ["extend --money"]),
        ("gpunb run train.py -- --offering 3", []),
        ("gpunb exec curl -O URL", []),
        ("--offering 0.2", ["--offering"]),
    ],
)
def test_what_can_not_be_typed_is_found(text: str, bad: list[str]) -> None:
    assert [*not_typeable(text), *(one for one in not_there(text, options("rent")) if text[0] == "-")] == bad
