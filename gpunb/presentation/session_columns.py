"""The columns of `ps` and `panel`: one is added here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell
from gpunb.presentation.shown import Shown
from gpunb.presentation.tables import lease_cells, state_cell, trust_cell
from gpunb.sessions.model import WAITING, machine
from gpunb.text import clean
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.presentation.models import SessionFacts
    from gpunb.sessions.model import Cost, RunNote, Session

__all__ = ["PANEL_COLUMNS", "PS_COLUMNS", "PanelLine", "SessionLine"]


class SessionLine(NamedTuple):
    """A session in the list of `ps`: its cost so far, its open runs, and when it is asked for."""

    session: Session
    cost: Cost
    runs: Sequence[RunNote]
    now: float

    def left(self, index: int) -> Cell:
        """Time, idle time or budget left, by its place in `lease_cells`."""
        return lease_cells(self.session, self.cost, sum(run.active for run in self.runs), self.now)[index]

    def doing(self) -> str:
        """The open runs; one that waits for input is marked, since it can't go on."""
        words = [
            f"{run.id} {run.name}".strip() + (f" ({run.state})" if run.state == WAITING else "")
            for run in self.runs[:3]
        ]
        more = f" and {len(self.runs) - 3} more" if len(self.runs) > 3 else ""
        return ", ".join(words) + more


PS_COLUMNS: tuple[Shown[SessionLine], ...] = (
    Shown(Column("name"), lambda one: Cell(one.session.name, "strong"), lambda _: "total"),
    Shown(Column("state", wrap=True), lambda one: state_cell(one.session)),
    Shown(Column("gpu", drop=1), lambda one: machine(one.session.gpu, one.session.gpus)),
    Shown(Column("cloud", drop=3), lambda one: one.session.provider),
    Shown(Column("host", drop=6), lambda one: trust_cell(one.session.trust)),
    Shown(
        Column("cost", right=True),
        lambda one: money_text(one.cost.total),
        lambda rows: money_text(sum(line.cost.total for line in rows)),
    ),
    Shown(
        Column("$/h", right=True),
        lambda one: price_text(one.session.hourly),
        lambda rows: price_text(sum(line.session.hourly for line in rows)),
    ),
    Shown(Column("time left", right=True), lambda one: one.left(0)),
    Shown(Column("idle left", right=True, drop=2), lambda one: one.left(1)),
    Shown(Column("budget left", right=True, drop=4), lambda one: one.left(2)),
    Shown(Column("running", drop=5, wrap=True), SessionLine.doing),
    Shown(Column("agent", drop=7), lambda one: clean(one.session.agent)),
)


class PanelLine(NamedTuple):
    """A session in the panel of a terminal, and when it is shown."""

    facts: SessionFacts
    now: float

    def ends_in(self) -> Cell:
        """How long its lease lasts, and what ends it."""
        lease = self.facts["lease"]
        left = "" if lease["ends"] is None else duration_text(max(0.0, lease["ends"] - self.now))
        by = f" ({lease['ends_by']})" if left and lease["ends_by"] else ""
        return Cell(f"{left}{by}", "bad" if lease["soon"] else "")


PANEL_COLUMNS: tuple[Shown[PanelLine], ...] = (
    Shown(Column("session"), lambda one: Cell(one.facts["name"], "strong")),
    Shown(Column("state", wrap=True), lambda one: Cell(one.facts["state"], one.facts["tone"])),
    Shown(Column("gpu", drop=1), lambda one: machine(one.facts["gpu"], one.facts["gpus"])),
    Shown(Column("cloud", drop=2), lambda one: one.facts["provider"]),
    Shown(Column("runs", right=True, drop=3), lambda one: str(one.facts["runs_active"] or "")),
    Shown(
        Column("cost", right=True),
        lambda one: _money(one.facts["cost"]["total"]),
        lambda rows: money_text(sum(line.facts["cost"]["total"] or 0.0 for line in rows)),
    ),
    Shown(
        Column("$/h", right=True),
        lambda one: "?" if one.facts["usd_h"] is None else price_text(one.facts["usd_h"]),
        lambda rows: price_text(sum(line.facts["usd_h"] or 0.0 for line in rows)),
    ),
    Shown(Column("ends in"), PanelLine.ends_in),
    Shown(Column("agent", drop=4), lambda one: clean(one.facts["agent"])),
)


def _money(usd: float | None) -> str:
    return "?" if usd is None else money_text(usd)
