"""Why nothing was found, and what would be: which condition, and what it would take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.offers.fields import Field, suggest
from gpunb.offers.gpus import Wanted, known_names, normalise
from gpunb.offers.rank import Ranked, rank
from gpunb.offers.units import show_quantity

if TYPE_CHECKING:
    from gpunb.offers.predicate import Filter
    from gpunb.offers.search import SearchResult
    from gpunb.providers.base import Offer

__all__ = ["Relaxation", "explain", "relaxations"]

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Relaxation:
    """What fits if one condition (or the few of `dropped`) were not there.

    Attributes
    ----------
    dropped
        The conditions, in the user's words.
    fitting
        How many offers would fit then.
    best
        The best of them.
    needs
        What the nearest of them has where the condition is a comparison of
        one number ("$3.40"), or "".
    """

    dropped: tuple[str, ...]
    fitting: int
    best: tuple[Ranked, ...]
    needs: str = ""


def relaxations(result: SearchResult) -> list[Relaxation]:
    """For each condition, what would fit without it; if no single one helps, for the nearest few offers."""
    alone: dict[int, list[Offer]] = {}
    fewest = len(result.filters) + 1
    nearest: dict[tuple[int, ...], list[Offer]] = {}
    tests = [one.test for one in result.filters]
    for offer in result.offers:
        failing = tuple(at for at, test in enumerate(tests) if not test(offer))
        if len(failing) == 1:
            alone.setdefault(failing[0], []).append(offer)
        if len(failing) < fewest:
            fewest, nearest = len(failing), {}
        if len(failing) == fewest and failing:
            nearest.setdefault(failing, []).append(offer)
    found = []
    if alone:
        for at, offers in sorted(alone.items()):
            one = result.filters[at]
            found.append(Relaxation((one.text,), len(offers), _best(result, offers), _needs(one, offers)))
    else:
        for failing, offers in sorted(nearest.items(), key=lambda item: -len(item[1]))[:SHOWN]:
            names = tuple(result.filters[at].text for at in failing)
            found.append(Relaxation(names, len(offers), _best(result, offers)))
    return sorted(found, key=lambda one: (one.best[0].score if one.best else math.inf, one.dropped))


def explain(result: SearchResult) -> list[str]:
    """What was left out and why, one line each; for an empty result, what would fit."""
    lines = []
    total = len(result.offers)
    for answer in result.answers:
        if answer.error is not None:
            lines.append(f"{answer.provider}: {answer.error.message}")
        elif answer.note:
            lines.append(f"{answer.provider} {answer.note}")
        if answer.refused:
            first = next(one for one in result.refused if one.provider == answer.provider)
            what = f"{_count(answer.refused)} made no sense"
            lines.append(f"{answer.provider}: {what}; the first, {first.id}: {first.reason}")
    if not total:
        lines.append("no cloud had an offer at all" if result.answers else "no cloud was asked")
        return lines
    lines += [f"{_count(count)} left out by {text}" for text, count in result.counts if count]
    if result.matched:
        return lines
    left = total
    for text, count in result.counts:
        left -= count
        if not left:
            lines.append(f"none of {_count(total)} fits: {text} left out the last {count}")
            break
    lines += _unknown_gpus(result)
    for one in relaxations(result)[:SHOWN]:
        text = " and ".join(one.dropped)
        nearest = f" (the nearest has {one.needs})" if one.needs else ""
        lines.append(f"without {text}, {_count(one.fitting)} would fit{nearest}: {_line(one.best[0])}")
    return lines


def _best(result: SearchResult, offers: list[Offer]) -> tuple[Ranked, ...]:
    return tuple(rank(offers, result.terms, result.query.order, SHOWN))


def _needs(one: Filter, offers: list[Offer]) -> str:
    compare, get = one.compare, one.get
    if compare is None or get is None or compare.negated or compare.field.kind != "number":
        return ""
    ends = [float(value) for value in compare.values if isinstance(value, float) and math.isfinite(value)]
    values = [value for value in (float(get(offer)) for offer in offers) if not math.isnan(value)]
    if not ends or not values:
        return ""
    near = min(values, key=lambda value: min(abs(value - end) for end in ends))
    return _shown(compare.field, near)


def _shown(field: Field, value: float) -> str:
    return f"{field.name} {show_quantity(value, field.dimension)}"


def _unknown_gpus(result: SearchResult) -> list[str]:
    lines = []
    there = {offer.gpu for offer in result.offers if offer.gpu}
    low = {name.lower() for name in there}
    for one in result.filters:
        if (
            one.compare is None
            or one.compare.field.kind != "gpu"
            or one.compare.op == "~"
            or one.compare.negated
        ):
            continue
        for value in one.compare.values:
            if isinstance(value, Wanted) and not value.known and not value.names & low:
                near = suggest(value.text, {*there, *known_names()}) or _look_alike(value.text)
                ask = f"; did you mean {near}?" if near else ""
                lines.append(f"no offer has a GPU called {value.text!r}{ask}")
    return lines


def _look_alike(text: str) -> str | None:
    """The model meant by a name with letters for digits: H1OO."""
    found = normalise(text.upper().replace("O", "0").replace("I", "1").replace("L", "1"))
    return found.name if found.known else None


def _count(number: int) -> str:
    return "1 offer" if number == 1 else f"{number} offers"


def _line(row: Ranked) -> str:
    offer = row.offer
    machine = f"{offer.gpus}x {offer.gpu or 'unknown GPU'}" if offer.gpus else "a machine without GPU"
    if offer.vram_gb:
        machine += f" {offer.vram_gb:g} GB"
    where = offer.country or offer.region
    return (
        f"{machine} at {offer.provider}{f' in {where}' if where else ''}, {show_quantity(row.hourly, '$')}/h"
    )
