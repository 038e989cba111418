"""A parsed query: comparisons joined by and, or, not; an order; a limit."""

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
    """`field` `op` `values`.

    `op` is one of = < <= > >= ~ (one value), "in" (any of several) or ".."
    (between two, both included). What is negated says so in `negated`: "!="
    and "not in" are "=" and "in" with it.
    """

    field: Field
    op: str
    values: tuple[Value, ...]
    negated: bool
    text: str


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 - `Any` is taken
    """At least one part holds."""

    parts: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node
    text: str


Node = Compare | All | Any_ | Not


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an order: a field, or one field divided by another."""

    field: Field
    over: Field | None
    descending: bool
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a query says."""

    where: Node | None
    order: tuple[Key, ...]
    limit: int | None
