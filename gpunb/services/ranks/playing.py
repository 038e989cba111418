"""The runs of a group's members, played on one screen until all have ended."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, RemoteCellError, RunError
from gpunb.hints import typed
from gpunb.output.folding import ranks_text
from gpunb.output.player import PAUSE, Player, ended, wants_restart
from gpunb.services.running import runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpunb.output import Sink
    from gpunb.output.group_screen import GroupScreen
    from gpunb.remote import RunHandle, RunInfo
    from gpunb.remote.records import Record
    from gpunb.services.ranks.members import Member, Members
    from gpunb.services.workspace import Workspace

__all__ = ["Ended", "Playing"]

BATCH = 256  # records of one rank, until it is the next one's turn
WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How the run of one rank ended.

    Attributes
    ----------
    stopped
        Whether it was interrupted because another rank had failed.
    """

    rank: int
    session: str
    run: str
    state: str
    exit_code: int | None
    stopped: bool = False


class _One:
    """One rank's run."""

    def __init__(self, member: Member, handle: RunHandle, sink: Sink, wake: threading.Event) -> None:
        self.member = member
        self.handle = handle
        self.sink = sink
        self.heard = time.monotonic()
        self.end: Record | None = None
        self.result: Ended | None = None
        self.error: GpunbError | None = None
        self.stopped = False
        self.player: Player | None = None
        self.heeded: runs.Heeded | None = None
        handle.wake = wake.set


class Playing:
    """Plays the runs of several ranks at once. The first that fails ends the others, unless they keep going.

    Parameters
    ----------
    keep_going
        Whether the others go on when a rank has failed.
    interactive
        Whether a user can answer questions.
    """

    def __init__(
        self,
        context: Workspace,
        members: Members,
        screen: GroupScreen,
        *,
        keep_going: bool = False,
        interactive: bool = True,
    ) -> None:
        self.context = context
        self.members = members
        self.screen = screen
        self.keep_going = keep_going
        self.interactive = interactive
        self._wake = threading.Event()
        self._ones: list[_One] = []
        self._failed: list[_One] = []
        self._interrupts = 0

    def add(self, member: Member, handle: RunHandle, sink: Sink | None = None) -> None:
        """Play the run of `member` into its sink of the screen, or into `sink` before that."""
        self._ones.append(_One(member, handle, sink or self.screen.sink(member.rank), self._wake))

    def abandon(self) -> None:
        """Interrupt what was started: not all of them could be."""
        for one in self._ones:
            with contextlib.suppress(GpunbError):
                one.handle.interrupt()
            one.handle.close()

    def follow(self) -> list[Ended]:
        """Play all until they have ended; returns how, by rank.

        Raises
        ------
        GpunbError
            The first one that failed, with its rank; the others have ended, too.
        """
        with contextlib.ExitStack() as stack:
            for one in self._ones:
                one.heeded = stack.enter_context(runs.heeded(self.context, one.handle, one.sink))
                one.player = Player(one.handle, one.heeded, interactive=self.interactive, raises=True)
            while self._live():
                try:
                    self._step()
                except KeyboardInterrupt:  # noqa: PERF203
                    self._interrupted()
        self.screen.finish()
        self._raise_first()
        return [one.result for one in self._ones if one.result is not None]

    def _live(self) -> list[_One]:
        return [one for one in self._ones if one.result is None]

    def _step(self) -> None:
        live = self._live()
        due = self.screen.due
        wait = PAUSE if any(one.player and one.player.held for one in live) else WAIT_S
        self._wake.wait(wait if due is None else min(wait, due))
        self._wake.clear()
        for one in live:
            self._heard(one)
        done = [one for one in live if one.end is not None or one.error is not None]
        infos = [self._finish(one) for one in done]
        with self.context.ledger.together() if done else contextlib.nullcontext():
            for one, info in zip(done, infos, strict=True):
                if info is not None:
                    runs.note_end(self.context, one.handle.id, info)
        self.screen.show()
        for one in done:
            if one.error is not None:
                self._stop_others(one)

    def _heard(self, one: _One) -> None:
        """Play what there is; what goes wrong with one is its own end."""
        try:
            if one.end is None:
                self._play(one)
        except GpunbError as err:
            one.error = err

    def _play(self, one: _One) -> None:
        handle, player = one.handle, one.player
        if player is None:
            return
        for _ in range(BATCH):
            record = handle.next(0.0) if handle.ready else None
            if record is None:
                break
            one.heard = time.monotonic()
            if record.kind == "end":
                one.end = record
            player.play(record)
            if one.end is not None:
                return
        else:
            self._wake.set()
        if player.held is not None and time.monotonic() - one.heard > PAUSE:
            player.tell_error()

    def _finish(self, one: _One) -> RunInfo | None:
        """Close one that has ended, and keep what it raised; returns its end, if that is not recorded yet."""
        player, handle, state, code = one.player, one.handle, "lost", None
        info: RunInfo | None = None
        if player is None or one.heeded is None:
            return None
        if one.end is not None:
            info = ended(handle, one.end)
            state, code = info.state, info.exit_code
            if state == "ok":
                player.tell_error()
            player.finish()
            try:
                player.outcome(info, one.end.head)
            except GpunbError as err:
                one.error, info = err, None
        else:
            player.finish()
        if one.error is not None:
            with contextlib.suppress(GpunbError):  # the first failure counts
                runs.note_failure(self.context, handle, one.error, one.heeded.words)
            self._failed.append(one)
        handle.close()
        member = one.member
        one.result = Ended(member.rank, member.session.name, handle.id, state, code, one.stopped)
        return info

    def _stop_others(self, failed: _One) -> None:
        live = [one for one in self._live() if not one.stopped]
        if self.keep_going or self._interrupts or failed.stopped or not live:
            return
        self._stop(live)
        self.screen.inner.note(
            f"[{failed.member.rank}] failed: [{ranks_text(one.member.rank for one in live)}] is interrupted "
            "(--keep-going lets the others go on)"
        )

    def _stop(self, ones: Iterable[_One]) -> None:
        for one in ones:
            one.stopped = True
            with contextlib.suppress(GpunbError):
                one.handle.interrupt()

    def _interrupted(self) -> None:
        """Pass Ctrl-C on to all; the second one offers to restart the kernels, or leaves them running."""
        self._interrupts += 1
        live = self._live()
        cell = any(one.player is not None and one.player.kind == "cell" for one in live)
        ranks = ranks_text(one.member.rank for one in live)
        self.screen.show(everything=True)
        if self._interrupts == 1:
            more = "again: offers to restart the kernels" if cell else "Ctrl-C again to detach"
            self.screen.inner.note(f"interrupting [{ranks}] of {self.members.name} ({more})")
            for one in live:
                with contextlib.suppress(GpunbError):
                    one.handle.interrupt()
            return
        if self.interactive and cell and wants_restart(self.screen.inner):
            self.screen.inner.note(f"restarting the kernels of [{ranks}]")
            for one in live:
                one.handle.client.restart_kernel()
            return
        ids = [one.handle.id for one in live]
        for one in live:
            one.handle.close()
        msg = f"Detached; [{ranks}] of {self.members.name} go on: runs {', '.join(ids)}"
        raise RunError(
            msg,
            bill=f"{self.members.name} runs on and is billed",
            hint=typed("attach", ids[0]) + " shows one again, " + typed("cancel", *ids) + " ends them",
        )

    def _raise_first(self) -> None:
        """Raise what the first rank raised, with its rank; say what became of the others."""
        if not self._failed:
            return
        first, *others = self._failed
        stopped = [one.member.rank for one in others if one.stopped or self._interrupts]
        failed = [one for one in others if one.member.rank not in stopped]
        note = self.screen.inner.note
        for what, which in _alike(failed):
            note(f"[{ranks_text(which)}] failed, too: {what}")
        if stopped:
            note(f"[{ranks_text(stopped)}] ended by that")
        err = first.error
        if err is None:
            return
        raise named(first.member, err, getattr(self.screen.inner, "failure", None))


def named(
    member: Member, err: GpunbError, failure: Callable[[RemoteCellError], RemoteCellError] | None = None
) -> GpunbError:
    """The error with the rank that it comes from, also before each line of a traceback of a stranger's."""
    mark = f"[{member.rank}]"
    if not isinstance(err, RemoteCellError):
        err.message = f"{mark} {err.message}"
        return err
    lines = err.traceback
    if member.session.trust != "own":
        lines = [f"{mark} {line}" for text in lines for line in text.split("\n")]
    if lines:
        err.traceback = [f"{mark} {member.session.name} raised:", *lines]
    return failure(err) if failure is not None else err


def _alike(ones: list[_One]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for one in ones:
        what = one.error.message if one.error is not None else ""
        found.setdefault(what.splitlines()[0][:200] if what else "", []).append(one.member.rank)
    return list(found.items())
