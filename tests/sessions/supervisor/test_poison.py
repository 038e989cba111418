"""Sessions poisoned one by one, with each class of error at each call: all others are served and end.

Kimi-cli#404 and its like: one cloud's client that can't be made took the supervisor with it, and with
that every lease. No error about one session, cloud, row or setting may do that.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError

from gpunb.errors import AuthFailed, HostError, LedgerError, LedgerUnwritable, SettingsError, Unavailable
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState
from gpunb.sessions.notices.outbox import Outbox
from gpunb.sessions.notices.wakeups import WakeUps
from gpunb.sessions.supervisor import process, watchers
from gpunb.sessions.supervisor.sweep import Supervision
from tests.sessions.scripted import Machine, ScriptedCloud

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import World

S = SessionState
TICK = 15.0


class UnspeakableError(Exception):
    """Its own words can't be had."""

    def __str__(self) -> str:
        msg = "no words"
        raise RuntimeError(msg)


def invalid() -> ValidationError:
    class Row(BaseModel):
        price: float

    try:
        Row(price="cheap")  # type: ignore[arg-type]
    except ValidationError as err:
        return err
    raise AssertionError


ERRORS: dict[str, Callable[[], BaseException]] = {
    "unavailable": lambda: Unavailable("503", provider="scripted"),
    "auth": lambda: AuthFailed("no key", provider="scripted"),
    "settings": lambda: SettingsError("gpunb.toml: no"),
    "host": lambda: HostError("it says nothing"),
    "value": lambda: ValueError("Unknown scheme for proxy URL"),
    "import": lambda: ImportError("socksio"),
    "key": lambda: KeyError("instances"),
    "attribute": lambda: AttributeError("'NoneType' object has no attribute 'startswith'"),
    "os": lambda: OSError(28, "No space left on device"),
    "eof": EOFError,
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "sqlite": lambda: sqlite3.OperationalError("no such column"),
    "constraint": lambda: sqlite3.IntegrityError("UNIQUE constraint failed"),
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "memory": MemoryError,
    "pydantic": invalid,
    "assertion": AssertionError,
    "stop": StopIteration,
    "ledger": lambda: LedgerError("locked by another process"),
    "unwritable": lambda: LedgerUnwritable("the disk is full"),
    "exit": lambda: SystemExit(1),
    "unspeakable": UnspeakableError,
}


class Poison:
    """Which session's calls raise what; none until it is `on`."""

    def __init__(self) -> None:
        self.on = False
        self.errors: dict[str, Callable[[], BaseException]] = {}  # by any word that names the session

    def taste(self, *words: str) -> None:
        if self.on:
            for word in words:
                if word in self.errors:
                    error = self.errors[word]()
                    raise error


def poisoned(target: Any, name: str, poison: Poison) -> None:
    """Let the method `name` of `target` raise for each poisoned session that it is about."""
    real = getattr(target, name)

    def call(*args: Any, **more: Any) -> Any:
        poison.taste(*(str(getattr(one, "id", one)) for one in args))
        return real(*args, **more)

    setattr(target, name, call)


PROVIDER = ("get", "presence", "destroy", "usage", "ended", "adopted")
HOST = ("pulse", "arm", "fetch", "drop")
LEDGER = (
    "claimed", "transition", "update", "note", "get", "cost", "intents", "events",
    "resolve_intent", "touch", "runs", "release", "meter",
)  # fmt: skip


def rented(world: World, poison: Poison, **more: Any) -> list[Any]:
    """A session for each error, and a healthy one before and after them."""
    names = ["first", *ERRORS, "last"]
    sessions = [world.rent(name=name, hours=1, **more) for name in names]
    for session in sessions:
        if session.name in ERRORS:
            poison.errors[session.id] = poison.errors[session.instance_id] = ERRORS[session.name]
    return sessions


def play(world: World, watcher: Supervision, seconds: float) -> list[str]:
    """Looks for so long, all but the last minutes of it as a machine that sleeps; what they told."""
    errors: list[str] = []
    end = world.clock.now + seconds
    while world.clock.now < end:
        if end - world.clock.now > 600.0 and len(errors) < 10_000:
            errors += watcher.tick().errors
            world.clock.sleep(end - world.clock.now - 500.0)
        errors += watcher.tick().errors
        world.clock.sleep(TICK)
    return errors


def late(world: World, sessions: list[Any], grace: float = 2 * TICK + 2) -> list[str]:
    """Names of the sessions whose machine was not ended by lease + 2 looks."""
    out = []
    for session in sessions:
        machine: Machine = world.cloud.machines[session.instance_id]
        if machine.ended is None or machine.ended > (session.lease.deadline or 0.0) + grace:
            out.append(session.name)
    return out


@pytest.mark.parametrize("call", [f"provider.{one}" for one in PROVIDER] + [f"host.{one}" for one in HOST])
def test_whatever_a_cloud_or_host_raises_about_one_session_the_others_end(world: World, call: str) -> None:
    poison = Poison()
    sessions = rented(world, poison, save=["out"], idle_s=1200)
    where, name = call.split(".")
    poisoned(world.cloud if where == "provider" else world.host, name, poison)
    poison.on = True
    watcher = Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK)
    errors = play(world, watcher, 3600 + 100)
    free = {"first", "last"}
    assert free.isdisjoint(late(world, sessions)), errors[-5:]
    if call != "provider.destroy":  # nothing can end what its own cloud does not let go
        assert late(world, sessions) == [], errors[-5:]
    poison.on = False
    play(world, watcher, 700)
    assert world.cloud.billed() == []
    assert world.ledger.sessions() == []
    for session in sessions:
        receipt = world.ledger.receipt(session.id)
        assert receipt is not None, session.name
        if name == "fetch" and session.name in ERRORS:
            assert receipt.unsaved, session.name


@pytest.mark.parametrize("call", LEDGER)
def test_whatever_the_ledger_raises_about_one_session_it_ends_and_the_others_too(
    world: World, call: str
) -> None:
    poison = Poison()
    sessions = rented(world, poison)
    poisoned(world.ledger, call, poison)
    poison.on = True
    watcher = Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK)
    errors = play(world, watcher, 3600 + 100)
    assert late(world, sessions) == [], errors[-5:]
    poison.on = False
    play(world, watcher, 400)
    assert world.ledger.sessions() == []
    for session in sessions:  # what came before the ledger could be told is not counted as longer
        ended = world.ledger.get(session.id).ended or 0.0
        assert ended <= (session.lease.deadline or 0.0) + 4 * TICK, session.name
        receipt = world.ledger.receipt(session.id)
        assert receipt is not None
        assert receipt.confirmed == pytest.approx(ended)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offer", "{"),
        ("offer", "[]"),
        ("offer", "[" * 100_000),
        ("save", "nope"),
        ("save", "{}"),
        ("budget_usd", "a lot"),
        ("idle_s", b"\xff"),
        ("created", "yesterday"),
        ("ready", "soon"),
        ("last_activity", "now"),
        ("usd_h", "cheap"),
        ("next_try", "later"),
        ("tries", "many"),
        ("host", b"\xff\xfe"),
        ("label", ""),
    ],
)
def test_a_spoiled_row_ends_like_the_others(world: World, column: str, value: object) -> None:
    sessions = [world.rent(name=name, hours=1, idle_s=math.inf) for name in ("first", "bad", "last")]
    with world.ledger._write() as db:
        db.execute(f"UPDATE sessions SET {column} = ? WHERE name = 'bad'", (value,))
    watcher = Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK)
    errors = play(world, watcher, 3600 + 100)
    early = column in {"budget_usd", "idle_s"}  # what can't be read makes no lease longer
    assert late(world, sessions) == [], errors[-5:]
    machine = world.cloud.machines[sessions[1].instance_id]
    assert early or (machine.ended or 0.0) >= (sessions[1].lease.deadline or 0.0) - 2 * TICK
    play(world, watcher, 400)
    assert world.ledger.sessions() == []


@pytest.mark.parametrize(("table", "column"), [("segments", "rate"), ("segments", "start")])
def test_spoiled_books_keep_no_deadline_from_being_kept(world: World, table: str, column: str) -> None:
    sessions = [world.rent(name=name, hours=1, idle_s=math.inf) for name in ("first", "bad", "last")]
    with world.ledger._write() as db:
        db.execute(f"UPDATE {table} SET {column} = 'x' WHERE session_id = ?", (sessions[1].id,))
    watcher = Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK)
    errors = play(world, watcher, 3600 + 100)
    assert late(world, sessions) == [], errors[-5:]
    assert any("bad: its cost can't be counted" in line for line in errors)


class OtherCloud(ScriptedCloud):
    """A second cloud."""

    name: ClassVar[str] = "other"
    title: ClassVar[str] = "Other Cloud"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("where", ["its constructor", "its list", "a row of its list"])
def test_a_cloud_that_is_broken_takes_no_other_with_it(world: World, error: str, where: str) -> None:
    other = OtherCloud(world.clock)
    mine = world.rent(name="mine", hours=1)
    world.cloud, scripted = other, world.cloud
    theirs = world.rent(name="theirs", hours=1)
    world.cloud = scripted
    raised = ERRORS[error]

    def fail(*_: Any) -> Any:
        raise raised()

    class Row:
        """A row whose fields can't be read."""

        id = theirs.instance_id

        @property
        def label(self) -> str:
            fail()
            raise AssertionError

    if where == "its list":
        other.instances = fail  # type: ignore[method-assign]
    elif where == "a row of its list":
        shown = other.instances
        other.instances = lambda: [Row(), *shown()]  # type: ignore[method-assign,list-item]

    def providers(name: str) -> Any:
        if name == "other" and where == "its constructor":
            fail()
        return {"scripted": scripted, "other": other}[name]

    with ThreadPoolExecutor(4) as threads:
        for executor in (None, threads):
            watcher = Supervision(
                world.ledger, providers, host=world.host, tick_s=TICK, clouds=executor, sweep_s=30.0
            )
            looked = watcher.tick()
    assert any(line.startswith(("other", "orphans of other", "theirs")) for line in looked.errors)
    play(world, watcher, 3600 + 60)
    assert late(world, [mine]) == []
    if where != "its constructor":
        machine = other.machines[theirs.instance_id]
        assert machine.ended is not None
        assert machine.ended <= (theirs.lease.deadline or 0.0) + 2 * TICK + 2


@pytest.mark.parametrize("error", [one for one in ERRORS if one != "exit"])
def test_a_look_that_fails_as_a_whole_is_followed_by_the_next(
    world: World, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = world.rent(hours=1)
    world.clock.sleep(3700)
    fails = [True, True]
    real = Supervision.tick

    def tick(self: Supervision, only: Any = None) -> Any:
        if fails:
            fails.pop()
            raised = ERRORS[error]()
            raise raised
        return real(self, only)

    monkeypatch.setattr(Supervision, "tick", tick)
    done = threading.Event()

    def supervise() -> None:
        process.run(world.ledger, lambda _: world.cloud, host=world.host, tick_s=0.01)
        done.set()

    thread = threading.Thread(target=supervise, daemon=True)
    thread.start()
    assert done.wait(20)
    thread.join(5)
    assert world.ledger.get(session.id).state is S.GONE


def test_a_ledger_that_can_not_be_read_any_more_is_remembered(world: World) -> None:
    sessions = [world.rent(name=name, hours=1) for name in ("a", "b")]
    watcher = Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK)
    watcher.tick()
    real = Ledger._rows

    def rows(self: Ledger, *args: Any) -> Any:
        msg = "disk I/O error"
        raise LedgerError(msg)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "_rows", rows)
        patch.setattr(Ledger, "_write", rows)
        play(world, watcher, 3600 + 100)
        assert late(world, sessions) == []
        assert not watcher.remembers()
    assert Ledger._rows is real
    play(world, watcher, 200)
    assert world.ledger.sessions() == []
    for session in sessions:
        ended = world.ledger.get(session.id).ended or 0.0
        assert ended <= (session.lease.deadline or 0.0) + 4 * TICK


def test_a_stale_host_is_let_go_when_another_process_ended_the_session(world: World) -> None:
    dropped: list[str] = []
    world.host.drop = dropped.append  # type: ignore[assignment,method-assign]
    session = world.rent(hours=1)
    watcher = Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK)
    watcher.tick()
    other = world.open("another")
    other.transition(other.get(session.id), S.ENDING, "down")
    other.close()
    watcher.tick()
    assert session.id in dropped


# -- a supervisor that can't use a cloud, and another one that can --------------


def test_another_supervisor_serves_the_cloud_that_the_first_can_not_use(world: World) -> None:
    """The first one was started from a terminal without the key, or with a proxy that no client takes."""
    session = world.rent(name="fit", hours=1)
    owners = {"first", "second"}
    first, second = (
        Ledger.open(world.path, clock=world.clock, owner=one, owner_lives=lambda other: other in owners)
        for one in ("first", "second")
    )

    def blind(name: str) -> Any:
        msg = f"there is no key for {name}"
        raise AuthFailed(msg, provider=name)

    def look(ledger: Ledger, providers: Any, watcher: dict[Ledger, Any]) -> None:
        if ledger not in watcher:
            watch = Supervision(ledger, providers, host=world.host, tick_s=TICK)
            outbox = Outbox(ledger, providers, host=world.host)
            watcher[ledger] = (watch, watchers.Duties(ledger), outbox, WakeUps(world.clock))
        process._look(ledger, *watcher[ledger], "detached", None)

    made: dict[Ledger, Any] = {}
    look(first, blind, made)
    assert watchers.unserved(first) == {"scripted": "there is no key for scripted"}
    (told,) = watchers.unwatched(first)
    assert "the leases of fit" in told
    started: list[str] = []

    def able(name: str) -> bool:
        started.append(name)
        return True

    assert watchers.ensure(first, ["true"], able=able), "a process that can use it starts one that does"
    watchers._children.pop().wait(10)
    assert started == ["scripted"]
    assert not watchers.ensure(first, ["true"], able=lambda _: False), "one that can't does not"
    look(second, lambda _: world.cloud, made)
    look(second, lambda _: world.cloud, made)
    assert watchers.unwatched(first) == []
    assert not watchers.ensure(first, ["true"], able=able), "it is served"
    world.clock.sleep(3600)
    for _ in range(3):
        look(first, blind, made)
        look(second, lambda _: world.cloud, made)
        world.clock.sleep(TICK)
    assert world.ledger.get(session.id).state is S.GONE
    owners.discard("second")
    first.close()
    second.close()


def test_a_key_that_comes_later_is_taken(world: World) -> None:
    world.rent(name="fit", hours=1)
    keys = ["wrong"]
    renewed: list[str] = []

    def instances() -> Any:
        msg = "401"
        raise AuthFailed(msg, provider="scripted")

    locked = OtherCloud(world.clock)
    locked.instances = instances  # type: ignore[method-assign]
    watcher = Supervision(
        world.ledger,
        lambda _: world.cloud if keys[0] == "right" else locked,
        host=world.host,
        tick_s=TICK,
        renew=renewed.append,
    )
    play(world, watcher, 60)
    assert watcher.blind == {"scripted": "401"}
    assert renewed == ["scripted"]
    keys[0] = "right"
    play(world, watcher, 120)
    assert watcher.blind == {}
