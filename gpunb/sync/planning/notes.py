"""Notes on a plan that the user must see: skipped links, credentials, patterns that match nothing."""

from __future__ import annotations

import shlex
from itertools import islice
from typing import TYPE_CHECKING

from gpunb.sync.local.autorun import held_note
from gpunb.sync.planning.plan import OUT
from gpunb.sync.planning.rules import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpunb.sync.planning.plan import LeftOut, Plan
    from gpunb.sync.planning.rules import Rules

__all__ = ["credentials_held", "speak_up"]

NAMED = 5


def speak_up(plan: Plan, rules: Rules, *, single: str = "") -> None:
    """Add notes on left out paths that a mere count would hide."""
    out = [left_out for left_out in plan.left_out if left_out.rule.startswith(OUT)]
    if out:
        goals = [
            f"{left_out.path} -> {left_out.rule.removeprefix(OUT).removeprefix(': ')}" for left_out in out
        ]
        plan.notes.append(
            f"{_several(len(out), 'link')} out of the folder and did not go: {_listed(goals)}; "
            "--follow-links sends what they lead to"
        )
    plan.notes += credentials_held(plan.left_out)
    held = held_note(plan.left_out)
    if held:
        plan.notes.append(held)
    if not rules.hold and rules.names_credentials:
        going = list(islice((i.path for i in plan.items if rules.is_credential(i.path)), NAMED + 1))
        if going and not single:
            plan.notes.append(f"goes too, and looks like credentials: {_listed(going)}")
    if plan.items or plan.unchanged or plan.left_out:
        plan.notes += rules.without_effect()


def credentials_held(left_out: Iterable[LeftOut]) -> list[str]:
    """The note on files that are not sent because they look like credentials; none if there are none."""
    held = [one.path for one in left_out if one.rule == SECRET]
    if not held:
        return []
    first = shlex.quote(held[0])
    words = f"looks like credentials and does not go to a stranger: {_listed(held)}"
    return [f"{words}; to send it all the same: --include {first}"]


def _several(count: int, what: str) -> str:
    return f"{count} {what} leads" if count == 1 else f"{count} {what}s lead"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    # a host's names are in it
    shown = ["".join(c if c.isprintable() else "?" for c in name[:200]) for name in names[:NAMED]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
