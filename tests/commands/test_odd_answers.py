"""An agent that answers oddly ends a verb with one clear line, never as a failure of ours."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

import gpunb.remote.client as client_module
from gpunb.errors import ProtocolError
from gpunb.remote import answers
from tests.support.chance import drawn, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

ODD: list[Any] = [
    5, -1, 1e308, float("nan"), float("inf"), 10**400, True, "x\x1b]52;c;ZXZpbA==\x07\x1b[2J", "", [], [1],
    ["\x1b[2J"], {"a": 1}, [[[[]]]], "\N{UNICORN FACE}" * 5000, None, [None], {}, [{}],
    [{"ts": "x", "gpus": 5}],
]  # fmt: skip
VERBS = {
    "top": ("top", "-s", "demo", "--once"),
    "logs": ("logs", "RUN", "--since", "1m"),
    "export": ("export", "RUN", "o.ipynb", "--force"),
    "runs --jobs": ("runs", "--jobs", "-s", "demo"),
    "runs": ("runs", "-s", "demo"),
    "show": ("show", "demo"),
    "show --run": ("show", "--run", "RUN"),
    "ps": ("ps",),
    "cancel": ("cancel", "RUN"),
    "run": ("run", "-s", "demo", "--shell", "echo hi"),
}


PLACES = 10  # where lies are told to each verb; make soak tells them everywhere


class Liar:
    """Stands where the answers come in: notes each, and changes one field of one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen: dict[str, dict[str, Any]] = {}
        self.lie: tuple[str, tuple[Any, ...], Any] | None = None
        self.ops: set[str] = set()
        real = client_module.checked

        def checked(op: str, answer: dict[str, Any], host: str) -> dict[str, Any]:
            self.ops.add(op)
            self.seen.setdefault(op, copy.deepcopy(answer))
            if self.lie is not None and self.lie[0] == op:
                answer = told(answer, *self.lie[1:])
            return real(op, answer, host)

        patch.setattr(client_module, "checked", checked)


def told(head: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """`head` with another value at `path`."""
    out: Any = copy.deepcopy(head)
    at = out
    try:
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
    except (LookupError, TypeError):  # another answer than the one that was seen has no such place
        return head
    return dict(out)


def paths(answer: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Where a lie can be told: each field, and each of the first of a list of objects."""
    for name, value in answer.items():
        if name in ("t", "id"):
            continue
        yield (name,)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from ((name, 0, inner) for inner in value[0])
        elif isinstance(value, dict):
            yield from ((name, inner) for inner in value)


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Liar:
    return Liar(monkeypatch)


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(280)
def test_no_verb_takes_an_odd_answer_for_a_failure_of_its_own(demo: Gpunb, liar: Liar) -> None:
    assert demo("run", "-s", "demo", "--shell", "echo hello").code == 0
    run = json.loads(demo("runs", "--json").out)[0]["id"]
    demo("trust", "demo", "stranger")
    rng = drawn("odd answers")
    tried = 0
    for name, words in VERBS.items():
        line = [run if word == "RUN" else word for word in words]
        liar.seen, liar.lie = {}, None
        plain = demo(*line)
        assert plain.code == 0 or name == "cancel", plain.err
        where = [(op, path) for op, answer in liar.seen.items() for path in paths(answer)]
        if not whole():
            where = rng.sample(where, min(PLACES, len(where)))
        for op, path in where:
            for value in rng.sample(ODD, 2):
                liar.lie = (op, path, value)
                found = demo(*line)
                tried += 1
                said = f"{name}: {op} {path} = {value!r:.60}\n{found.out}\n{found.err}"
                assert found.code in (0, 1, 2), said
                assert "unexpected" not in found.err, said
                assert "\x1b]" not in found.out + found.err, said
                assert "\x1b[2J" not in found.out + found.err, said
        liar.lie = None
    assert tried > 100, tried
    # "source" is asked only for what was not sent from here
    assert {"info", "runs", "telemetry", "before"} <= liar.ops


@pytest.mark.parametrize("op", sorted(answers.SHAPES))
def test_each_field_is_checked_where_it_comes_in(op: str) -> None:
    for field, is_fine in answers.SHAPES[op].items():
        for value in ODD:
            clean = answers.tame(value)
            if clean is None or is_fine(clean):
                answers.checked(op, {field: value}, "train")
                continue
            with pytest.raises(ProtocolError) as caught:
                answers.checked(op, {field: value}, "train")
            message = caught.value.message
            assert "train" in message
            assert field in message
            assert "\n" not in message
            assert "\x1b" not in message
            assert len(message) < 400
