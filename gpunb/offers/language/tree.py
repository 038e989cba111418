"""Syntax tree of a query: comparisons joined by and, or, not; an order; a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.offers.gpus import Wanted

if TYPE_CHECKING:
    from gpunb.offers.language.fields import Field

__all__ = ["All", "Any_", "Compare", "Key", "Node", "Not", "Parsed", "Value"]

Value = str | float | bool | Wanted
"""A value in a comparison, already of the field's kind."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison: `field` `op` `values`.

    `op` is one of = < <= > >= ~ (one value), "in" (any of several) or ".."
    (between two, both included). `negated` turns "=" and "in" into "!=" and
    "not in".
    """

    field: Field
    op: str
    values: tuple[Value, ...]
    negated: bool
    text: str


@dataclass(frozen=True, slots=True)
class All:
    """A conjunction: every part holds."""

    parts: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - `Any` is taken
    """A disjunction: at least one part holds."""

    parts: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """A negation: the part does not hold."""

    part: Node
    text: str


Node = Compare | All | Any_ | Not


@dataclass(frozen=True, slots=True)
class Key:
    """One sort key: a field, or one field divided by another."""

    field: Field
    over: Field | None
    descending: bool
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed query."""

    where: Node | None
    order: tuple[Key, ...]
    limit: int | None
