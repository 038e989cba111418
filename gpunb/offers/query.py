"""A search: its conditions in the user's words, and the part of them that clouds can filter by.

Each condition keeps its text, so that a search can say which condition excluded
which offers. What a cloud's own API can filter goes into an `OfferQuery` too; all
answers are tested again here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.offers.gpus import Wanted
from gpunb.offers.language.fields import FIELDS
from gpunb.offers.language.predicate import Filter, compile_node
from gpunb.offers.language.tree import All, Any_, Compare, Key, Node, Not, Value
from gpunb.offers.pricing import NO_HISTORY, History, Terms
from gpunb.offers.regions import codes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gpunb.providers.base import Offer, OfferQuery

__all__ = ["NO_GPU", "ON_DEMAND", "SOLD_OUT", "Condition", "Query", "build", "cloud_name", "conjuncts"]

SOLD_OUT = "what is sold out"
ON_DEMAND = "on-demand only"
NO_GPU = "having no GPU"
_ALL_RENTALS = ("on-demand", "spot", "reserved")
_CLOUD_WORDS = {"vast.ai": "vast", "vastai": "vast", "deep-infra": "deepinfra"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, as the user's text and as a tree."""

    text: str
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search.

    Attributes
    ----------
    ask
        What is passed to the clouds, and what the price is asked for.
    rentals
        The kinds of rental that are searched, each with a call of its own.
    clouds
        The clouds that are asked; empty means all.
    conditions
        All of them must hold.
    order
        Keys given by the user; empty means gpunb's own ranking.
    limit
        How many rows are wanted, or None for all.
    image_gb
        Size of the image that a container pulls, GB, for the time until ready.
    any_machine
        Whether no condition names GPUs: offers with a GPU are meant then, and this computer
        without one only where none fits.
    """

    ask: OfferQuery
    rentals: tuple[str, ...] = ("on-demand",)
    clouds: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    order: tuple[Key, ...] = ()
    limit: int | None = None
    image_gb: float = 6.0
    any_machine: bool = False

    def terms(self, history: History = NO_HISTORY) -> Terms:
        """The terms that prices and times are for."""
        ask = self.ask
        return Terms(ask.hours, ask.disk_gb, ask.up_gb, ask.down_gb, self.image_gb, history)

    def filters(self, terms: Terms) -> list[Filter]:
        """Compile the conditions to tests, cheap ones first."""
        found = []
        for condition in self.conditions:
            node = condition.node
            compare = node if isinstance(node, Compare) else None
            get = compare.field.get(terms) if compare else None
            found.append(Filter(condition.text, compile_node(node, terms), compare, get))
        return sorted(
            found, key=lambda one: 0 if one.compare and one.compare.field.name not in _PRICED else 1
        )

    def matches(self, offer: Offer) -> bool:
        """Return whether `offer`, already normalised, meets every condition."""
        return all(one.test(offer) for one in self.filters(self.terms()))


_PRICED = frozenset(("price", "total", "ready"))


def cloud_name(text: str) -> str:
    """Return the provider's name for a user's name of a cloud."""
    return _CLOUD_WORDS.get(text.lower(), text.lower())


def build(
    ask: OfferQuery,
    conditions: Iterable[Condition],
    *,
    order: tuple[Key, ...] = (),
    limit: int | None = None,
    image_gb: float = 6.0,
) -> Query:
    """Build the search of `conditions`, and the fields of it that clouds can filter by.

    Without a condition on it, the rental is on demand, and what is sold out is
    left out.

    Raises
    ------
    BadInput
        No cloud, or no kind of rental, can meet all conditions.
    """
    found = list(conditions)
    if not any(_mentions(condition.node, "rental") for condition in found):
        found.append(Condition(ON_DEMAND, _compare("rental", "=", ("on-demand",))))
    if not any(_mentions(condition.node, "available") for condition in found):
        found.append(Condition(SOLD_OUT, _compare("available", ">", (0.0,))))
    any_machine = not any(
        _mentions(condition.node, name) for condition in found for name in ("gpu", "gpus", "vram")
    )
    if any_machine:
        # a cloud's machine without a GPU must be asked for; a machine of one's own is always included
        gpu_or_own = (_compare("gpus", ">=", (1.0,)), _compare("trust", "=", ("own",)))
        found.append(Condition(NO_GPU, Any_(gpu_or_own, text="")))
    rentals: tuple[str, ...] = _ALL_RENTALS
    clouds: tuple[str, ...] | None = None
    for compare in (condition.node for condition in found if isinstance(condition.node, Compare)):
        if compare.field.name == "rental":
            rentals = tuple(rental for rental in rentals if (rental in compare.values) is not compare.negated)
        elif compare.field.name == "cloud" and compare.op in {"=", "in"} and not compare.negated:
            named = tuple(dict.fromkeys(cloud_name(str(value)) for value in compare.values))
            clouds = named if clouds is None else tuple(cloud for cloud in clouds if cloud in named)
        elif not compare.negated:
            _pass_on(ask, compare)
    if clouds == () or not rentals:
        msg = "query: no cloud and kind of rental can meet all its conditions"
        raise BadInput(msg)
    return Query(
        ask=replace(ask, rental=rentals[0]),
        rentals=rentals,
        clouds=clouds or (),
        conditions=tuple(found),
        order=order,
        limit=limit,
        image_gb=image_gb,
        any_machine=any_machine,
    )


def _compare(name: str, op: str, values: tuple[Value, ...]) -> Compare:
    return Compare(FIELDS[name], op, values, negated=False, text="")


def _pass_on(ask: OfferQuery, compare: Compare) -> None:
    """Narrow `ask` by `compare`, without excluding offers that fit."""
    if compare.field.kind == "number":
        _pass_number(ask, compare.field.name, *_bounds(compare.op, compare.values))
    elif compare.op in {"=", "in"}:
        _pass_names(ask, compare.field.name, compare.values)


def _pass_number(ask: OfferQuery, name: str, low: float, high: float) -> None:
    if name == "gpus":
        if low > 0:
            ask.count_min = max(ask.count_min, math.ceil(low - 1e-9))
        if high < math.inf:
            most = math.floor(high + 1e-9)
            ask.count_max = most if ask.count_max is None else min(ask.count_max, most)
    elif name == "vram" and low > 0:
        ask.vram_gb = max(ask.vram_gb, low)
    elif name == "disk" and low > 0:
        ask.disk_gb = max(ask.disk_gb, low)
    elif name in {"price", "total"} and high < math.inf:
        top = high if name == "price" else high / ask.hours
        ask.max_usd_h = top if ask.max_usd_h is None else min(ask.max_usd_h, top)


def _pass_names(ask: OfferQuery, name: str, values: tuple[Value, ...]) -> None:
    # of two conditions on one field only the first is passed on: any offer that meets both meets it
    if name == "gpu" and not ask.gpus:
        found = [spelled for value in values if isinstance(value, Wanted) for spelled in value.spellings]
        ask.gpus = tuple(dict.fromkeys(found))
    elif name == "region" and not ask.regions:
        codes = [codes_of(str(value)) for value in values]
        if all(codes):  # a part of a name is no region that a cloud could filter by
            ask.regions = tuple(sorted(frozenset().union(*codes)))
    elif name == "kind" and not ask.kinds:
        ask.kinds = tuple(str(value) for value in values)


def _bounds(op: str, values: tuple[Value, ...]) -> tuple[float, float]:
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    if op in {">", ">="}:
        return numbers[0], math.inf
    if op in {"<", "<="}:
        return -math.inf, numbers[0]
    return min(numbers), max(numbers)


def _mentions(node: Node, name: str) -> bool:
    if isinstance(node, Compare):
        return node.field.name == name
    if isinstance(node, Not):
        return _mentions(node.part, name)
    return any(_mentions(part, name) for part in node.parts)


def conjuncts(node: Node | None) -> Iterator[Node]:
    """Split `node` into the conditions that must all hold."""
    if isinstance(node, All):
        for part in node.parts:
            yield from conjuncts(part)
    elif isinstance(node, (Any_, Compare, Not)):
        yield node
