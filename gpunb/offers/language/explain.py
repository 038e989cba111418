"""Explanation of an empty result: which conditions exclude the offers, and what would fit without them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.offers.gpus import Wanted, known_names, normalise
from gpunb.offers.language.fields import Field, suggest
from gpunb.offers.language.units import show_quantity
from gpunb.offers.query import NO_GPU, ON_DEMAND, SOLD_OUT
from gpunb.offers.rank import Ranked, rank

if TYPE_CHECKING:
    from gpunb.offers.language.predicate import Filter
    from gpunb.offers.search import SearchResult
    from gpunb.providers.base import Offer

__all__ = ["Relaxation", "explain", "relaxations"]

SHOWN = 3
# implicit conditions: texts for one excluded offer and for several, and how to include them
_OWN_WORDS = {
    NO_GPU: ("has no GPU", "have no GPU", "with --gpus 0"),
    ON_DEMAND: ("is not on demand", "are not on demand", "with --spot or --reserved"),
    SOLD_OUT: ("is sold out", "are sold out", "if not sold out"),
}


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The offers that would fit without one condition (or without all of `dropped`).

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
    """Relax each condition by itself; if no single one helps, those that the nearest offers fail."""
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
    """Explain what was left out and why, one line each; for an empty result, what would fit."""
    lines = []
    total = len(result.offers)
    for answer in result.answers:
        if answer.error is not None:
            lines.append(f"{answer.provider}: {answer.error.message}")
        elif answer.note:
            lines.append(f"{answer.provider} {answer.note}")
        if answer.refused:
            first = next(left_out for left_out in result.refused if left_out.provider == answer.provider)
            what = f"{_count(answer.refused)} made no sense"
            lines.append(f"{answer.provider}: {what}; the first, {first.id}: {first.reason}")
    if not total:
        typed = [condition.text for condition in result.query.conditions if condition.text not in _OWN_WORDS]
        none = f"no cloud has an offer for {' and '.join(typed)}" if typed else "no cloud had an offer at all"
        lines.append(none if result.answers else "no cloud was asked")
        return lines
    out = [(text, count) for text, count in result.counts if count]
    lines += [_left_out(text, count) for text, count in out]
    if result.matched:
        return lines
    lines += _unknown_gpus(result)
    for relaxation in relaxations(result)[:SHOWN]:
        names = [text for text in relaxation.dropped if text not in _OWN_WORDS]
        given = [f"without {'it' if len(out) == 1 else ' and '.join(names)}"] if names else []
        text = " and ".join(
            [*given, *(_OWN_WORDS[text][2] for text in relaxation.dropped if text in _OWN_WORDS)]
        )
        nearest = f" (the nearest has {relaxation.needs})" if relaxation.needs and names else ""
        lines.append(f"{text}, {_count(relaxation.fitting)} would fit{nearest}: {_line(relaxation.best[0])}")
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
                name, _, count = value.text.partition(":")
                if count.isdigit() and normalise(name).known:
                    lines.append(f"{value.text!r} is no GPU; did you mean --gpu {name} --gpus {count}?")
                    continue
                near = suggest(value.text, {*there, *known_names()}) or _look_alike(value.text)
                ask = f"; did you mean {near}?" if near else ""
                lines.append(f"no offer has a GPU called {value.text!r}{ask}")
    return lines


def _look_alike(text: str) -> str | None:
    """Return the model that a name with letters in place of digits means: H1OO."""
    gpu = normalise(text.upper().replace("O", "0").replace("I", "1").replace("L", "1"))
    return gpu.name if gpu.known else None


def _left_out(text: str, count: int) -> str:
    if text in _OWN_WORDS:
        return f"{_count(count)} {_OWN_WORDS[text][count != 1]}"
    return f"{_count(count)} {'does' if count == 1 else 'do'} not match {text}"


def _count(number: int) -> str:
    return "1 offer" if number == 1 else f"{number} offers"


def _line(row: Ranked) -> str:
    offer = row.offer
    machine = f"{offer.gpus}x {offer.gpu or 'unknown GPU'}" if offer.gpus else "a machine without GPU"
    if offer.vram_gb:
        machine += f" {offer.vram_gb:g} GB"
    where = offer.country or offer.region
    place = f" in {where}" if where and where != offer.provider else ""
    price = f"{show_quantity(row.hourly, '$')}/h" if row.hourly else "free"
    return f"{machine} at {offer.provider}{place}, {price}"
