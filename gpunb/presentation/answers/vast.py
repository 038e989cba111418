"""What the verbs that only Vast.ai has print with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation.models import State, about

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS"]


class Bid(TypedDict):
    """A session after a bid."""

    session: str
    bid: NotRequired[Annotated[Literal[False], about("the answer was no")]]
    state: NotRequired[State]
    bid_usd_h: NotRequired[Annotated[float | None, about("null: what wins now")]]
    usd_h: NotRequired[float]


class PrepayPlan(TypedDict):
    """What a payment in advance buys."""

    usd: float
    hours: float
    about_rate: float


class Prepaid(TypedDict):
    """A payment in advance, or what there is to choose from."""

    session: str
    paid: NotRequired[bool]
    usd: NotRequired[float]
    discount_rate: NotRequired[Any]
    deposit_usd: NotRequired[float | None]
    plans: NotRequired[list[PrepayPlan]]


class Increase(TypedDict):
    """A price increase that a host asks for; a pair is the value before and after."""

    id: int
    provider: str
    session: str | None
    instance: str
    old_usd_h: float | None
    new_usd_h: float | None
    gpu_usd_h: list[float]
    disk_usd_gb_month: list[float]
    up_usd_gb: list[float]
    down_usd_gb: list[float]
    platform_fee: list[float | None]
    ends: list[float | None]


class Snapshot(TypedDict):
    """An order to push a container as an image."""

    session: str
    pushed: bool
    image: NotRequired[str]


class Variable(TypedDict):
    """A variable of the account; its value is not shown."""

    name: str


class VariableSet(TypedDict):
    """A variable that was set, or not."""

    set: bool
    name: NotRequired[str]


class VariableDeleted(TypedDict):
    """A variable that was deleted, or not."""

    deleted: bool
    name: NotRequired[str]


ANSWERS: Mapping[str, Any] = {
    "vast bid": Bid,
    "vast prepay": Prepaid,
    "vast increases": list[Increase],
    "vast snapshot": Snapshot,
    "vast variables": list[Variable] | VariableSet | VariableDeleted,
}
