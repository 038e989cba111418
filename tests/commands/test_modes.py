"""No option is dropped without a word: where a mode of a verb has no use for one, it is refused.

The first test reads the verbs' own code: what a mode returns without having looked at, it must refuse.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import shlex
from typing import TYPE_CHECKING

import pytest

from gpunb.cli.registry import VERBS, module_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

# no mode: there is nothing to do, nothing was typed, or `save_template` refuses all that it does not keep
DATA = {"not chosen", "not rows", "session is None", "save_template is not None or _bare(context)"}


def words(node: ast.AST) -> set[str]:
    """The names and texts in `node`."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return found | {str(one.value) for one in ast.walk(node) if isinstance(one, ast.Constant)}


def dropped(source: str) -> Iterator[str]:
    """The parameters that a mode of the verb neither reads nor refuses."""
    found = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "command"
    )
    unread = {one.arg for one in (*found.args.args, *found.args.kwonlyargs)} - {"context", "yes"}
    for step in found.body:
        ends = isinstance(step, ast.If) and any(isinstance(one, ast.Return) for one in step.body)
        if isinstance(step, ast.If) and ends and ast.unparse(step.test) not in DATA:
            left = unread - words(step.test) - set[str]().union(*map(words, step.body))
            yield from (f"{ast.unparse(step.test)}: {name}" for name in sorted(left))
        unread -= words(step)


@pytest.mark.parametrize("name", VERBS)
def test_no_mode_drops_an_option(name: str) -> None:
    assert not list(dropped(inspect.getsource(importlib.import_module(module_name(name)))))


def test_a_dropped_option_is_found() -> None:
    source = "def command(context, *, config, words, raw):\n if config:\n  return words\n return raw"
    assert list(dropped(source)) == ["config: raw"]


@pytest.mark.parametrize(
    ("line", "which"),
    [
        ("logs k3v9 --instance", "RUN"),
        ("logs --instance -f --since 10m", "--follow and --since"),
        ("logs --daemon --follow", "--follow"),
        ("ssh --config --print", "--print"),
        ("ssh --config htop", "COMMAND"),
        ("forward 6006 --close --reverse", "--reverse"),
        ("forward --local 9000", "--local"),
        ("show --run k3v9 --events", "--events"),
        ("receipts fit -n 3", "--limit"),
        ("down lab --forget --no-save", "--no-save"),
        ("top --once --for 10s", "--for"),
        ("panel --json --for 10s", "--for"),
    ],
)
def test_what_would_have_no_effect_is_refused(gpunb: Gpunb, line: str, which: str) -> None:
    ran = gpunb(*shlex.split(line))
    assert ran.code == 2, ran.err
    text = ran.err or ran.out
    assert f"{which} would have no effect" in text
    assert f"leave {which} out" in text
