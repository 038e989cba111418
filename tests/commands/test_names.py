"""Every verb that acts on a session takes its whole name, as its first word; generated from the verbs."""

from __future__ import annotations

import importlib
import shlex
from typing import TYPE_CHECKING, Any

import click
import pytest
from support.rentals.ledgers import add, ready

from gpunb.cli import command as verbs
from gpunb.cli.context import Context
from gpunb.cli.registry import VERBS, load, module_name, split
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sessions.model import Session


def command(name: str) -> verbs.Verb:
    found = load(name)
    assert isinstance(found, verbs.Verb), name
    return found


def by_option(name: str) -> bool:
    """Whether the verb takes ``-s``."""
    return any("--session" in one.opts for one in command(name).params)


def by_word(name: str) -> bool:
    """Whether an argument of the verb's is a session's name."""
    own = (one for one in command(name).params if isinstance(one, click.Argument))
    return any(one._custom_shell_complete is verbs.complete_sessions for one in own)


def words_of(name: str) -> list[str]:
    """What the verb needs beside its session."""
    values = {"time": "1h", "usd": "1", "integer range": "6006"}
    found = []
    for one in command(name).params:
        if isinstance(one, click.Argument) and one.required:
            found += [values.get(one.type.name, "word")] * max(1, one.nargs)
    for one in command(name).params:
        if isinstance(one, click.Option) and one.required:
            found += [max(one.opts, key=len), "word"]
    return {"sync": ["x", ":x"], "run": [":fit.py"]}.get(name, found)


TAKES = [name for name in VERBS if by_option(name) or by_word(name)]
ACTS = [name for name in TAKES if not command(name).reads]
FIRST = [name for name in TAKES if command(name).first not in (None, "never")]
ONLY_HERE = {"put", "get", "on"}  # a terminal refuses them before it looks for a session


def lines(name: str, session: str) -> list[list[str]]:
    """Each way to name `session` to the verb."""
    words = words_of(name)
    found = []
    if by_option(name):
        found += [[*name.split(), "-s", session, *words], [*name.split(), f"--session={session}", *words]]
    if by_word(name):
        found.append([name, session, *(["own"] if name == "trust" else [])])
    return found


@pytest.fixture
def two(home: Path) -> tuple[Session, Session]:
    """One session that is over, and a live one whose name begins like it."""
    with Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)  # a verb's own supervisor would end what no cloud knows of
        over = ledger.transition(add(ledger, "train"), SessionState.FAILED)
        return over, ready(ledger, name="train2")


def everything(home: Path) -> list[Any]:
    with Ledger.open() as ledger:
        return [
            (one, ledger.events(one.id), ledger.transfers(one.id)) for one in ledger.sessions(alive=False)
        ]


def test_the_lists_are_not_empty() -> None:
    assert {"down", "stop", "start", "reboot", "extend", "exec", "ssh", "rename", "trust"} <= set(ACTS)
    assert {"show", "logs", "runs", "cost"} <= set(TAKES) - set(ACTS)


@pytest.mark.parametrize("name", [name for name in ACTS if name not in ONLY_HERE])
def test_what_acts_takes_whole_names_only(
    name: str, two: tuple[Session, Session], gpunb: Gpunb, home: Path
) -> None:
    over, alive = two
    before = everything(home)
    for typed in ("t", "trai", alive.id[:1], alive.id[:7]):
        for line in lines(name, typed):
            ran = gpunb(*line)
            assert ran.code != 0, shlex.join(line)
            assert f"there is no session {typed!r}" in ran.err, shlex.join(line)
            assert "only the beginning" in ran.err
            assert "train2" in ran.err.split("next:")[1], "the whole line, with the name that may be meant"
    for typed in ("train", over.id):
        for line in lines(name, typed):
            ran = gpunb(*line)
            assert ran.code != 0, shlex.join(line)
            assert f"session {typed} has ended already (failed); there is train2 (ready)" in ran.err
            touches = importlib.import_module(module_name(name)).command.undone
            assert ("costs nothing any more" in ran.err) == bool(touches), shlex.join(line)
    assert everything(home) == before


@pytest.mark.parametrize(
    "name", [one for one in FIRST if command(one).first == "known" and one in set(ACTS) - ONLY_HERE]
)
def test_a_session_stands_in_first_place(
    name: str, two: tuple[Session, Session], gpunb: Gpunb, home: Path
) -> None:
    ran = gpunb(*name.split(), "train", *words_of(name))
    assert "session train has ended already" in ran.err, "the first word is the session's name"


def test_the_first_word_by_its_kind(two: tuple[Session, Session], gpunb: Gpunb) -> None:
    for line in (
        ["extend", "train", "2h"],
        ["extend", "train", "--budget", "3"],
        ["vast", "bid", "train", "1.20"],
        ["forward", "train", "6006"],
        ["forward", "--close", "train"],
        ["rename", "train", "new"],
        ["exec", "train", "--", "ls", "-la"],
        ["ssh", "train"],
        ["ssh", "train", "htop", "-d", "5"],
        ["run", "train", ":fit.py", "--", "--epochs", "3"],
        ["sync", "train", "data", ":data"],
        ["stop", "--yes", "train"],
    ):
        assert "session train has ended already" in gpunb(*line).err, shlex.join(line)
    for line in (
        ["rename", "trian", "new"],
        ["vast", "bid", "trian", "1"],
        ["extend", "trian", "2h"],
        ["stop", "trian"],
    ):
        ran = gpunb(*line)
        assert "there is no session 'trian'" in ran.err, shlex.join(line)
        assert f"next: gpunb {shlex.join(line).replace('trian', 'train2')}, if train2 is meant" in ran.err
    both = gpunb("exec", "train2", "ls")
    assert both.code == 2
    assert "could be the command too" in both.err
    assert "exec train2 -- ls" in both.err


@pytest.mark.parametrize("name", [one for one in TAKES if one not in {*ONLY_HERE, "panel", "receipts"}])
def test_the_line_that_names_one_of_several_can_be_typed(
    name: str, two: tuple[Session, Session], gpunb: Gpunb
) -> None:
    """`trust own` was told to be typed with ``-s``, which it has not."""
    with Ledger.open() as ledger:
        ready(ledger, name="other")
    words = {"trust": ["own"], "export": ["x.ipynb"]}.get(name, words_of(name))
    ran = gpunb(*name.split(), *words)
    if "Ambiguous" not in gpunb(*name.split(), *words, "--json").out:
        assert name in {"cost", "runs", "top", "cancel", "export", "keys"}, ran.err  # of all sessions
        return
    typed = shlex.split(ran.err.rpartition("next: gpunb ")[2].partition(", NAME being")[0])
    assert "other" in ran.err
    assert "NAME" in typed
    verb, rest = split(typed)
    made = command(verb).make_context(verb, rest, obj=Context("terminal"))
    assert "NAME" in str(made.params)


def test_a_path_of_a_session_goes_by_whole_names_too(
    two: tuple[Session, Session], gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.chdir(tmp_path)
    assert "has ended already" in gpunb("sync", "train:out", "out").err
    begun = gpunb("sync", "trai:out", "out")
    assert "there is no session 'trai'" in begun.err
    assert "next: gpunb sync train2:out out" in begun.err
    with pytest.raises(FileNotFoundError, match="no session 'trai'"):
        fsspec.filesystem("gpu").ls("trai/")
    from gpunb.errors import SessionOver

    with pytest.raises(SessionOver):
        fsspec.filesystem("gpu").ls("train/")


def test_reading_goes_by_beginnings(two: tuple[Session, Session], gpunb: Gpunb) -> None:
    over, alive = two
    assert gpunb("show", "train", "--json").json["id"] == over.id, (
        "a whole name comes first, also of one that is over"
    )
    for typed in ("t", "trai", "train2", alive.id[:3]):
        assert gpunb("show", typed, "--json").json["id"] == alive.id
        assert gpunb("cost", typed, "--json").code == gpunb("runs", "-s", typed, "--json").code == 0


def test_a_file_of_that_name_comes_first(
    two: tuple[Session, Session], gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").write_text("x")
    assert "has ended already" not in gpunb("sync", "train", "data", ":data").err


def test_a_run_is_ended_by_its_whole_id(two: tuple[Session, Session], gpunb: Gpunb) -> None:
    from gpunb.sessions.model import RunNote

    with Ledger.open() as ledger:
        ledger.add_run(RunNote(id="rabcdefghij", session_id=two[1].id, kind="job", state="running"))
    ran = gpunb("cancel", "rabc")
    assert ran.code != 0
    assert "only the beginning of rabcdefghij" in ran.err
    assert "type the whole id: rabcdefghij" in ran.err
