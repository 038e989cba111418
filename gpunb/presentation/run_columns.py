"""The columns of `runs` and `runs --jobs`: one is added here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell
from gpunb.presentation.shown import Shown
from gpunb.presentation.tables import ago
from gpunb.sessions.model import WAITING
from gpunb.units import bytes_text, duration_text

if TYPE_CHECKING:
    from gpunb.remote import RunInfo
    from gpunb.sessions.model import RunNote

__all__ = ["JOB_COLUMNS", "RUN_COLUMNS", "JobLine", "RunLine"]

_RUN_TONES = {
    "running": "info",
    "queued": "info",
    WAITING: "warn",
    "ok": "ok",
    "cancelled": "warn",
    "error": "bad",
    "died": "bad",
    "timeout": "warn",
}


class RunLine(NamedTuple):
    """A run as the ledger has it, the name of its session ("": it is over), and when it is shown."""

    run: RunNote
    session: str
    now: float

    @property
    def state(self) -> str:
        """Its state; what was open when its session ended is over."""
        over = self.run.ended is None and not self.session
        return "ended with its session" if over else self.run.state

    @property
    def took(self) -> str:
        """How long it ran; "" if that is not known."""
        if not self.run.started or not (self.run.ended or self.session):
            return ""
        return duration_text((self.run.ended or self.now) - self.run.started)


RUN_COLUMNS: tuple[Shown[RunLine], ...] = (
    Shown(Column("run"), lambda one: Cell(one.run.id, "strong")),
    Shown(Column("kind", drop=4), lambda one: one.run.kind),
    Shown(Column("name", wrap=True), lambda one: one.run.name),
    Shown(Column("state", wrap=True), lambda one: Cell(one.state, _RUN_TONES.get(one.run.state, ""))),
    Shown(Column("session", drop=2), lambda one: one.session or Cell("(ended)", "dim")),
    Shown(Column("started", right=True, drop=3), lambda one: ago(one.run.started, one.now)),
    Shown(Column("took", right=True, drop=1), lambda one: one.took),
)


class JobLine(NamedTuple):
    """A job as its host knows it, and when it is shown."""

    job: RunInfo
    now: float

    @property
    def began(self) -> float | None:
        """When it was started, or came into the queue."""
        return self.job.started or self.job.created

    @property
    def took(self) -> str:
        """How long it has waited or run."""
        return duration_text(max(0.0, (self.job.ended or self.now) - self.began)) if self.began else ""

    @property
    def gpus(self) -> str:
        """The GPUs that it holds or waits for, and how often it was started."""
        job = self.job
        held = f"waits for {job.wants}" if job.wants and job.state == "queued" else " ".join(job.gpus)
        again = f"attempt {job.attempt}" if job.attempt > 1 else ""
        return ", ".join(text for text in (held, again) if text)


JOB_COLUMNS: tuple[Shown[JobLine], ...] = (
    Shown(Column("job"), lambda one: Cell(one.job.id, "strong")),
    Shown(Column("name", wrap=True), lambda one: one.job.name),
    Shown(
        Column("state", wrap=True),
        lambda one: Cell(one.job.state, _RUN_TONES.get(one.job.state, "bad" if one.job.over else "")),
    ),
    Shown(Column("gpus", drop=3, wrap=True), lambda one: one.gpus),
    Shown(
        Column("exit", right=True), lambda one: "" if one.job.exit_code is None else str(one.job.exit_code)
    ),
    Shown(Column("started", right=True, drop=2), lambda one: ago(one.began, one.now)),
    Shown(Column("took", right=True, drop=1), lambda one: one.took),
    Shown(Column("output", right=True, drop=4), lambda one: bytes_text(one.job.size)),
)
