"""``limits``: the caps over all sessions, what is used of them and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.cli.command import verb
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Note, Result, Table
from gpunb.text import clean
from gpunb.units import money_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.cli.context import Context
    from gpunb.sessions.cost.limits_used import Used
    from gpunb.settings import LimitsSettings

__all__ = ["command"]

COLUMNS = (
    Column("cap"),
    Column("value", right=True),
    Column("used", right=True),
    Column("promised", right=True, drop=1),
    Column("left", right=True),
    Column("what it is", wrap=True, drop=2),
)


@verb("limits", reads=True, example="limits\nlimits --json")
def command(context: Context) -> Result:
    """Show the caps over all sessions, and what is left of each.

    Caps are set in your own settings file, in the table [limits]: usd_h, usd_day, usd_month, sessions,
    gpus, max_hours, clouds, trust. A project's gpunb.toml and variables can only lower them, and no
    option of a verb goes past them. What would cross a cap is refused before it is rented, started or
    extended. Spending that reaches a cap ends all paid sessions, after what they save.

    The table [agent] holds the same caps for agents' sessions alone, and those of [limits] hold as well.

    "Promised" is what live sessions may still cost until the day or month ends, or their lease does.
    """
    from gpunb import paths, settings
    from gpunb.sessions.cost import limits_used

    caps, theirs = settings.load().limits, limits_used.agents()
    found = {cap: limits_used.used(context.ledger, cap) for cap in limits_used.AMOUNTS}
    facts, rows = _shown(caps, found)
    data, blocks = {"limits": facts}, [Table(COLUMNS, rows)]
    if theirs is not None:
        by_agents = {
            cap: limits_used.used(context.ledger, cap, by_agents=True) for cap in limits_used.AMOUNTS
        }
        data["agent"], rows = _shown(theirs, by_agents)
        blocks.append(Table(COLUMNS, rows, title="agents' sessions alone"))
    notes = [
        Note(
            f"{money_text(use.others)} of limits.{cap} are instances on your accounts that are not gpunb's",
            "warn",
        )
        for cap, use in found.items()
        if use.others > 0 and cap != "sessions"
    ]
    where = Note(clean(f"set caps in [limits] of {paths.config_file()}, those of agents in [agent]"), "dim")
    return Result(data, *blocks, *notes, where)


def _shown(caps: LimitsSettings, found: Mapping[str, Used]) -> tuple[dict[str, object], list[Any]]:
    """The fields and the rows of one table of caps."""
    from gpunb.sessions.cost.limits_used import PERIODS

    rows: list[Any] = []
    facts: dict[str, object] = {}
    for cap, field in type(caps).model_fields.items():
        value, use = getattr(caps, "confirmed" if cap == "confirm" else cap), found.get(cap)
        shown = ", ".join(value) or "none" if isinstance(value, list) else _text(cap, value)
        left = None if use is None or value is None else max(0.0, value - use.total)
        facts[cap] = _facts(value, use, left)
        tone = "bad" if left == 0.0 else ""
        rows.append(
            [
                Cell(cap, "strong"),
                shown or Cell("no cap", "dim"),
                "" if use is None else _text(cap, use.now),
                "" if use is None or cap not in PERIODS else _text(cap, use.ahead),
                "" if left is None else Cell(_text(cap, left), tone),
                field.description or "",
            ]
        )
    return facts, rows


def _facts(value: object, use: Used | None, left: float | None) -> dict[str, object]:
    if use is None:
        return {"value": value}
    return {"value": value, "used": use.now, "promised": use.ahead, "others": use.others, "left": left}


def _text(cap: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return money_text(value) if cap.startswith("usd") else f"{value:g}"
