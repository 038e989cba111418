"""Compiler of a parsed query to a predicate: closures, built once, run for every offer.

A value that a cloud does not give satisfies no comparison, neither
``inet_down >= 100`` nor ``inet_down != 100``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gpunb.offers.gpus import Wanted
from gpunb.offers.language.tree import All, Any_, Compare, Node, Not
from gpunb.offers.regions import region_test
from gpunb.providers.base import Offer

if TYPE_CHECKING:
    from gpunb.offers.language.fields import Field
    from gpunb.offers.pricing import Terms

__all__ = ["Filter", "Test", "compile_node"]

Test = Callable[[Offer], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition of a query: its text, its test, and its comparison if it is a single one."""

    text: str
    test: Test
    compare: Compare | None = None
    get: Callable[[Offer], Any] | None = None


def compile_node(node: Node, terms: Terms) -> Test:
    """Compile `node` to a test under `terms`."""
    if isinstance(node, Not):
        inner = compile_node(node.part, terms)
        return lambda offer: not inner(offer)
    if isinstance(node, (All, Any_)):
        tests = tuple(compile_node(part, terms) for part in node.parts)
        return _all(tests) if isinstance(node, All) else _any(tests)
    return _leaf(node, terms)


def _all(tests: tuple[Test, ...]) -> Test:
    def test(offer: Offer) -> bool:
        for one in tests:  # noqa: SIM110 - a generator costs twice as much a row
            if not one(offer):
                return False
        return True

    return test


def _any(tests: tuple[Test, ...]) -> Test:
    def test(offer: Offer) -> bool:
        for one in tests:  # noqa: SIM110 - a generator costs twice as much a row
            if one(offer):
                return True
        return False

    return test


def _leaf(node: Compare, terms: Terms) -> Test:
    field = node.field
    if field.kind == "number":
        return _number(
            field.get(terms), node.op, cast("tuple[float, ...]", node.values), negated=node.negated
        )
    if field.kind == "bool":
        get = field.get(terms)
        value = bool(node.values[0]) != node.negated
        return lambda offer: bool(get(offer)) is value
    if field.kind == "gpu" and node.op != "~":
        found = _gpu(cast("tuple[Wanted, ...]", node.values))
        return _known(found, field, terms) if node.negated else found
    if field.kind == "region" and node.op != "~":
        found = _region(cast("tuple[str, ...]", node.values))
        return _known(found, field, terms) if node.negated else found
    return _text(node, field.get(terms))


def _known(test: Test, field: Field, terms: Terms) -> Test:
    """Negate `test` where the value is known; an unknown value fails both."""
    get = field.get(terms)
    if field.kind == "region":
        return lambda offer: bool(offer.country or offer.region) and not test(offer)
    return lambda offer: bool(get(offer)) and not test(offer)


def _number(get: Callable[[Offer], float], op: str, values: tuple[float, ...], *, negated: bool) -> Test:
    if op in _ONE_SIDED:
        return _ONE_SIDED[op](get, values[0])
    if op == "..":
        spans = [(values[0] - _slack(values[0]), values[1] + _slack(values[1]))]
    else:
        spans = [(value - _slack(value), value + _slack(value)) for value in values]
    if negated:
        # x == x: an unknown value, NaN, is not different from anything either
        return lambda offer: (x := get(offer)) == x and not any(low <= x <= high for low, high in spans)
    if len(spans) == 1:
        low, high = spans[0]
        return lambda offer: low <= get(offer) <= high
    return lambda offer: any(low <= get(offer) <= high for low, high in spans)


def _below(get: Callable[[Offer], float], value: float) -> Test:
    return lambda offer: get(offer) < value


def _at_most(get: Callable[[Offer], float], value: float) -> Test:
    top = value + _slack(value)
    return lambda offer: get(offer) <= top


def _above(get: Callable[[Offer], float], value: float) -> Test:
    return lambda offer: get(offer) > value


def _at_least(get: Callable[[Offer], float], value: float) -> Test:
    bottom = value - _slack(value)
    return lambda offer: get(offer) >= bottom


_ONE_SIDED = {"<": _below, "<=": _at_most, ">": _above, ">=": _at_least}


def _slack(value: float) -> float:
    """Return the tolerance for rounding errors: $0.1 x 3 is still not above $0.3."""
    return 1e-9 * max(1.0, abs(value))


def _gpu(values: tuple[Wanted, ...]) -> Test:
    plain = frozenset(name for value in values if not value.vram_gb for name in value.names)
    sized = frozenset((name, value.vram_gb) for value in values if value.vram_gb for name in value.names)
    if not sized:
        return lambda offer: offer.gpu.lower() in plain

    def test(offer: Offer) -> bool:
        name = offer.gpu.lower()
        return name in plain or (name, offer.vram_gb) in sized

    return test


def _region(values: tuple[str, ...]) -> Test:
    tests = tuple(region_test(value) for value in values)
    seen: dict[tuple[str, str], bool] = {}

    def test(offer: Offer) -> bool:
        place = (offer.country, offer.region)
        result = seen.get(place)
        if result is None:
            result = seen[place] = any(one(*place) for one in tests)
        return result

    return test


def _text(node: Compare, get: Callable[[Offer], str]) -> Test:
    if node.op == "~":
        first = node.values[0]
        piece = (first.text if isinstance(first, Wanted) else str(first)).lower()
        if node.negated:
            return lambda offer: piece not in get(offer).lower()
        return lambda offer: piece in get(offer).lower()
    wanted = frozenset(str(value).lower() for value in node.values)
    if node.negated:
        return lambda offer: (found := get(offer).lower()) != "" and found not in wanted
    return lambda offer: get(offer).lower() in wanted
