"""What the verbs that show something print with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation import models, rows
from gpunb.presentation.models import about

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS"]


class InstanceRow(TypedDict):
    """An instance of an account (`ps --account`)."""

    provider: str
    id: str
    label: str
    state: str
    kind: str
    usd_h: float
    session: Annotated[str, about("empty: it is not of this gpunb")]


class InstanceFacts(TypedDict):
    """A session's instance as its cloud reports it now (`show --instance`)."""

    provider: str
    session: str
    id: str
    label: str
    state: str
    raw_state: str
    kind: str
    image: str
    command: str
    ssh_key: str
    host: str
    port: int
    user: str
    usd_h: float
    created: float | None
    ports: dict[str, str]


class RunShown(rows.JobRow):
    """A run and its host's load meanwhile (`show --run`)."""

    session: str
    load: Annotated[list[dict[str, Any]], about("the host's samples")]


class Top(TypedDict):
    """The host's load now."""

    session: str
    sample: NotRequired[Annotated[dict[str, Any] | None, about("the host's sample")]]


class CostBySession(TypedDict):
    """`cost`."""

    rows: list[rows.CostOfSession]
    total: models.Cost


class CostByDay(TypedDict):
    """`cost --by day`."""

    rows: list[rows.CostOfDay]
    total: models.Cost


class CostByCloud(TypedDict):
    """`cost --by cloud`."""

    rows: list[rows.CostOfCloud]
    total: models.Cost


class CostByRun(TypedDict):
    """`cost --by run`."""

    rows: list[rows.CostOfRun]
    total: models.Cost


class AccountRow(TypedDict):
    """An account at a cloud."""

    provider: str
    user: str
    spends_from: str


class Papers(TypedDict):
    """Invoices and audit logs (`cost --invoices`), as far as clouds show them."""

    accounts: list[AccountRow]
    invoices: list[dict[str, Any]]
    audit: list[dict[str, Any]]


ANSWERS: Mapping[str, Any] = {
    "ps": list[rows.SessionRow] | list[InstanceRow],
    "show": rows.SessionShown | RunShown | InstanceFacts,
    "top": Top,
    "panel": list[models.SessionFacts],
    "cost": CostBySession | CostByDay | CostByCloud | CostByRun | Papers,
    "receipts": list[models.Receipt] | models.Receipt,
}
