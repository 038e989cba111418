"""``cost``: spending by session, day, cloud or run, beside the clouds' own figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import DURATION, OrNever, verb
from gpunb.errors import BadInput
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.sessions.cost import bills
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.presentation.rows import CostOfCloud, CostOfDay, CostOfRun, CostOfSession
    from gpunb.sessions.cost.spending import Spent
    from gpunb.sessions.model import Cost

__all__ = ["command"]

DAYS = 30


@verb(
    "cost",
    reads=True,
    example="cost\ncost --by day --since 7d\ncost --by run -s train\ncost --ask\ncost --invoices",
    session=True,
)
@click.option(
    "--by",
    type=click.Choice(["session", "day", "cloud", "run"]),
    default="session",
    show_default=True,
    help="One row for each.",
)
@click.option(
    "--since",
    type=OrNever(DURATION, "ever"),
    default=f"{DAYS}d",
    show_default=True,
    metavar="TIME",
    help="How far back, or ever.",
)
@click.option("--ask", is_flag=True, help="Ask the clouds what they count, and show the difference.")
@click.option(
    "--invoices", is_flag=True, help="Instead: invoices and the audit log, of each cloud that shows them."
)
def command(
    context: Context, *, session: str | None, by: str, since: float, ask: bool, invoices: bool
) -> Result:
    """Show what was spent: gpu, disk and bandwidth, in the steps that each cloud bills.

    It reads this machine's ledger; what a cloud itself said is shown where it has said so, at the
    end of a session or now (--ask).
    """
    from gpunb.sessions.cost import spending

    if invoices:
        from gpunb.presentation import papers

        if session or ask or by != "session":
            other = "--session" if session else "--ask" if ask else f"--by {by}"
            msg = f"--invoices: shows accounts, so {other} has no meaning beside it"
            raise BadInput(msg)
        return papers.run(context, since)
    ledger = context.ledger
    begin = 0.0 if since == float("inf") else max(0.0, time.time() - since)
    wanted = context.session(session).id if session else None
    rows = [spent for spent in spending.spent(ledger, since=begin) if wanted in {None, spent.session.id}]
    notes: list[Block] = []
    if ask:
        with context.progress("ask the clouds"):
            failed = spending.ask_clouds(ledger, rows, context.provider)
        notes = [Note(f"{name} could not be asked: {reason}", "warn") for name, reason in failed]
        notes += [Note(text, "warn") for spent in rows if (text := _contradiction(spent))]
    total = spending.added(spent.cost for spent in rows)
    if not rows:
        return Result({"rows": [], "total": total.data()}, Note("nothing was spent", "dim"), *notes)
    data, block = {"session": _sessions, "day": _days, "cloud": _clouds, "run": _runs}[by](
        context, rows, begin
    )
    return Result({"rows": data, "total": total.data()}, block, *notes)


def _money(cost: Cost) -> list[object]:
    return [money_text(one) for one in (cost.gpu, cost.disk, cost.bandwidth, cost.total)]


def _said(one: Spent) -> list[object]:
    if one.provider_usd is None:
        return [Cell("not billed yet" if one.not_billed else "-", "dim"), ""]
    more = one.difference
    if more is None:
        return [money_text(one.provider_usd), Cell("of all of it", "dim")]
    far = not bills.same(more, one.provider_usd)
    sign = "+" if more >= 0 else "-"
    return [money_text(one.provider_usd), Cell(f"{sign}{money_text(abs(more))}", "warn" if far else "dim")]


def _contradiction(one: Spent) -> str:
    if not one.contradicts or one.difference is None:
        return ""
    word = "more" if one.difference > 0 else "less"
    cloud, usd = one.session.provider, money_text(abs(one.difference))
    return (
        f"{one.session.name}: {cloud} bills {usd} {word} than counted here, which "
        f"contradicts {one.contradicts}; see docs/clouds/{cloud}.md, Not proven yet"
    )


def _sessions(context: Context, rows: list[Spent], begin: float) -> tuple[list[CostOfSession], Block]:  # noqa: ARG001
    from gpunb.presentation import tables
    from gpunb.sessions.cost.spending import added

    data: list[CostOfSession] = []
    shown = []
    for spent in rows:
        session = spent.session
        data.append(
            {
                "session": session.name,
                "id": session.id,
                "provider": session.provider,
                "state": session.state.value,
                "seconds": spent.seconds,
                "cost": tables.dollars(spent.cost),
                "provider_usd": spent.provider_usd,
                "difference_usd": spent.difference,
                "not_billed": spent.not_billed,
                "contradicts": spent.contradicts,
            }
        )
        shown.append(
            [
                Cell(session.name, "strong"),
                session.provider,
                tables.state_cell(session),
                duration_text(spent.seconds),
                *_money(spent.cost),
                *_said(spent),
            ]
        )
    heads = [
        Column("session"),
        Column("cloud", drop=4),
        Column("state", drop=5, wrap=True),
        Column("duration", right=True, drop=3),
        Column("gpu", right=True, drop=1),
        Column("disk", right=True, drop=1),
        Column("bandwidth", right=True, drop=1),
        Column("total", right=True),
        Column("billed", right=True, drop=1),
        Column("difference", right=True, drop=2),
    ]
    total = ["total", "", "", "", *_money(added(spent.cost for spent in rows)), "", ""]
    return data, Table(heads, shown, total)


def _days(context: Context, rows: list[Spent], begin: float) -> tuple[list[CostOfDay], Block]:
    from gpunb.presentation import tables
    from gpunb.sessions.cost.spending import added, by_day

    days = by_day(context.ledger, [spent.session for spent in rows], since=begin)
    data: list[CostOfDay] = [{"day": day, "cost": tables.dollars(cost)} for day, cost in days]
    total = ["total", *_money(added(cost for _, cost in days))]
    shown = [[Cell(day, "strong"), *_money(cost)] for day, cost in days]
    return data, Table(["day", ">gpu", ">disk", ">bandwidth", ">total"], shown, total)


def _clouds(context: Context, rows: list[Spent], begin: float) -> tuple[list[CostOfCloud], Block]:  # noqa: ARG001
    from gpunb.presentation import tables
    from gpunb.sessions.cost.spending import added

    data: list[CostOfCloud] = []
    shown = []
    for name in sorted({spent.session.provider for spent in rows}):
        mine = [spent for spent in rows if spent.session.provider == name]
        cost = added(spent.cost for spent in mine)
        figures = [spent.provider_usd for spent in mine if spent.provider_usd is not None]
        difference = [spent.difference for spent in mine if spent.difference is not None]
        data.append(
            {
                "provider": name,
                "sessions": len(mine),
                "cost": tables.dollars(cost),
                "provider_usd": sum(figures) if figures else None,
                "difference_usd": sum(difference) if difference else None,
            }
        )
        word = money_text(sum(figures)) if figures else "-"
        many = f"{word} ({len(figures)} of {len(mine)})" if figures and len(figures) < len(mine) else word
        shown.append([Cell(name, "strong"), str(len(mine)), *_money(cost), many])
    total = ["total", str(len(rows)), *_money(added(spent.cost for spent in rows)), ""]
    heads = ["cloud", ">sessions", ">gpu", ">disk", ">bandwidth", ">total", ">billed"]
    return data, Table(heads, shown, total)


def _runs(context: Context, rows: list[Spent], begin: float) -> tuple[list[CostOfRun], Block]:
    from gpunb.sessions.cost.spending import of_run

    ledger, now = context.ledger, time.time()
    data: list[CostOfRun] = []
    shown = []
    for spent in rows:
        session = spent.session
        segments = ledger.segments(session.id)
        for run in ledger.runs(session.id, 1000):
            if (run.ended or now) < begin:
                continue
            until = session.ended or now
            usd = of_run(segments, run, until)
            seconds = max(0.0, (run.ended or until) - run.started)
            data.append(
                {
                    "run": run.id,
                    "kind": run.kind,
                    "name": run.name,
                    "session": session.name,
                    "seconds": seconds,
                    "usd": usd,
                }
            )
            shown.append(
                [
                    Cell(run.id, "strong"),
                    run.kind,
                    run.name,
                    session.name,
                    duration_text(seconds),
                    money_text(usd),
                ]
            )
    if not shown:
        return data, Note("no runs", "dim")
    table = Table(["run", "kind", "name", "session", ">took", ">the machine cost meanwhile"], shown)
    return data, table
