"""What sessions were to bring back: real files in one folder that all share, and what became of them."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import SessionNotFound, SyncError
from gpunb.providers.base import Capability
from gpunb.sessions.lifecycle.rescue import AGAIN_S, unfetchable
from gpunb.sessions.model import SessionState
from gpunb.sim.cloud import Phase
from gpunb.sync.bring import Brought
from gpunb.sync.local.free_names import FreeNames
from gpunb.sync.local.tree import LocalSide
from gpunb.sync.planning.plan import Item, Tree
from tests.chaos.moves import took_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sessions.model import Session
    from gpunb.sim import Machine
    from tests.chaos.world import World

# what one user asks for at once: nothing, one path, two of one last name
ASKED: tuple[tuple[str, ...], ...] = (
    (),
    ("out",),
    ("out", "/work/out"),
    ("runs/a/log.txt", "runs/b/log.txt"),
)
# from a try to bring files back to the destroy: the end of the kernels, and the limit of all saves
TRY_S = 700.0
# what a supervisor needs until it knows that a machine was stopped, or runs again
KNOWS_S = 120.0


@dataclass
class Saves:
    """The files, and a judgement at each destroy of a machine that still had some.

    Attributes
    ----------
    lost
        What ended with something unsaved that could have been saved, and files that are not there
        although the ledger says "saved".
    waived
        Sessions whose user said that nothing is to be brought back.
    excused
        Session id -> why nothing more could be saved.
    """

    world: World
    folder: Path
    lost: list[str] = field(default_factory=list)
    waived: set[str] = field(default_factory=set)
    excused: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)  # session id -> who has its files
    _phases: dict[str, tuple[Phase, float]] = field(default_factory=dict)
    _refused: dict[str, tuple[float, str]] = field(default_factory=dict)
    _wrote: list[tuple[str, str, Path, bytes]] = field(default_factory=list)

    def fetch(self, session: Session, path: str, target: Path, up: Callable[[], Any]) -> Brought:
        """`HostAccess.fetch` of one file, of one size and second for all: only content tells them apart."""
        try:
            up()
            self._readable()
        except BaseException as err:
            self._refused[session.id] = (self.world.stage.now, f"trying: {type(err).__name__}")
            raise
        content = f"{session.id} {path:20}".encode()
        target.parent.mkdir(parents=True, exist_ok=True)
        item = Item(target.name, "file", len(content), 1_000_000_000, 0o644)
        with tempfile.TemporaryDirectory() as host:
            Path(host, target.name).write_bytes(content)
            sides = LocalSide(Path(host), {}), LocalSide(target.parent, {})
            plan = FreeNames(session.name, guard=True, typed=target.name).plan(Tree(items=[item]), *sides)
        for one in plan.items:
            (target.parent / one.path).write_bytes(content)
            os.utime(target.parent / one.path, (1_000_000_000, 1_000_000_000))
        (came,) = [*plan.items, *plan.unchanged]
        self._wrote.append((session.id, path, target.parent / came.path, content))
        return Brought(to=[str(target)], files=1, bytes=len(content), moved=1_000_000)

    def _readable(self) -> None:
        if self.world.save_fails:
            msg = "the disk of the host can't be read"
            raise SyncError(msg)

    # -- what became of them ----------------------------------------------------

    def look(self) -> None:
        """After each call: judge those whose machine has just been told to end."""
        for name, machine in self.world.machines():
            was, since = self._phases.get(machine.id, (machine.phase, machine.phase_at))
            self._phases[machine.id] = (machine.phase, machine.phase_at)
            if machine.phase is Phase.ENDING and was not in {Phase.ENDING, Phase.ENDED, Phase.FAILED}:
                self._judge(name, machine, was, since)

    def _judge(self, name: str, machine: Machine, was: Phase, since: float) -> None:
        ledger = self.world.observer
        try:
            session = ledger.get(machine.label.split("-")[2])
        except SessionNotFound:
            return
        if session.ready is None or session.id in self.waived or not session.save:
            return
        if session.moves_from or took_over(self.world, session):
            return  # a copy that is in nobody's place, or one whose files are on another machine
        if session.ends_with and ledger.run(session.id, session.ends_with) is None:
            return  # nothing ran, so nothing was written
        saved = {one.detail for one in ledger.events(session.id) if one.kind == "saved"}
        missing = [path for path in session.save if path not in saved]
        if not missing:
            return
        why = self._excuse(name, machine, session, was, since)
        if why:
            self.excused[session.id] = why
            return
        told = [json.loads(one.detail) for one in ledger.events(session.id) if one.kind == "unsaved"]
        self.lost.append(
            f"{session.name} ({machine.id} at {name}, {was.value} for {self.world.stage.now - since:.0f} s): "
            f"{', '.join(missing)} was not brought back; told: {told}"
        )

    def _excuse(self, name: str, machine: Machine, session: Session, was: Phase, since: float) -> str:
        """Why no client could have brought it back, or ""."""
        world, now = self.world, self.world.stage.now
        at, reason = self._refused.get(session.id, (0.0, ""))
        began = world.true(session.state_at) if session.state is SessionState.ENDING else now
        if at >= began - TRY_S:  # the calls after that may have met faults of the cloud's
            return reason
        if machine.id in world.ended_outside:
            return "its host ended it"
        if was in {Phase.OUTBID, Phase.OFFLINE}:
            return was.value
        deadline = world.true(session.lease.deadline or 0.0)
        if was is Phase.BOOTING:
            return "it was being started as its lease ended" if now >= deadline else ""
        if was is Phase.RUNNING:
            moved = [one.old for one in world.observer.events(session.id) if one.new == "ending"]
            unknown = moved[-1:] == ["stopped"] and since > began - KNOWS_S
            return "it ran again for a moment that nobody saw" if unknown else ""
        return self._stopped(name, machine, session, deadline)

    def _stopped(self, name: str, machine: Machine, session: Session, deadline: float) -> str:
        """Of one that is stopped: why it could not be started once for its files, or ""."""
        world, now = self.world, self.world.stage.now
        if not world.provider_can(name, Capability.STOP):
            return "its cloud can't start it"
        if now >= machine.data.get("offer", {}).get("end_date", float("inf")):
            return "the contract has ended"
        late = [one.at for one in world.clouds[name].faults.fired if one.endpoint != "create"]
        if any(at >= now - 2 * AGAIN_S - 60.0 for at in late):
            return "the cloud did not take the call"
        if unfetchable(session, world.observer.cost(session.id)):
            return "its budget does not carry it"
        if world.watched_since is None or world.watched_since > deadline - KNOWS_S:
            return "nobody watched in time"
        if machine.phase_at > deadline - KNOWS_S:
            return "it was stopped as its lease ended"
        return ""

    def saved(self) -> set[tuple[str, str]]:
        """Session ids and paths of what came."""
        return {(ident, path) for ident, path, _, _ in self._wrote}

    def end(self) -> None:
        """At the end of all: what was said to be saved is there, and as it was."""
        for ident, path, file, content in self._wrote:
            found = file.read_bytes() if file.exists() else b"nothing"
            if found != content:
                self.lost.append(f"{file.name} of {ident} ({path}) was saved, and holds {found!r} now")
