"""What the verbs that rent and end print with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation import models, rows
from gpunb.presentation.models import about

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS"]


class TemplateRow(TypedDict):
    """A template of containers (`offers --templates`)."""

    provider: str
    id: str
    name: str
    image: str
    disk_gb: float | None


class ReportRow(TypedDict):
    """A problem of a machine that was reported (`offers --reports`)."""

    problem: Any
    message: Any
    created_at: Any


class BenchmarkRow(TypedDict):
    """A benchmark of a machine or a model (`offers --benchmarks`)."""

    machine: Any
    gpu: str
    gpus: int | None
    type: str
    value: Any
    image: str
    at: Any


class TemplateSaved(TypedDict):
    """A template that was made or changed (`rent --save-template`)."""

    provider: str
    name: str
    template: str
    changed: bool


class GroupRented(TypedDict):
    """A group that is ready (`rent --count`)."""

    group: str
    wanted: Annotated[int, about("how many machines were asked for")]
    members: list[rows.SessionRow]


class NotRented(TypedDict):
    """The answer was no, or a picker was opened."""

    rented: Literal[False]


class Extended(TypedDict):
    """A lease after `extend`."""

    session: str
    left: NotRequired[rows.Left]
    extended: NotRequired[Annotated[Literal[False], about("the answer was no")]]


class Stopped(TypedDict):
    """A session after `stop`."""

    session: str
    state: NotRequired[models.State]
    usd_h: NotRequired[Annotated[float, about("from now on")]]
    stopped: NotRequired[Annotated[Literal[False], about("the answer was no")]]


class Started(TypedDict):
    """A session after `start`."""

    session: str
    state: NotRequired[models.State]
    usd_h: NotRequired[Annotated[float, about("from now on")]]
    started: NotRequired[Annotated[Literal[False], about("the answer was no")]]


class Rebooted(TypedDict):
    """A session after `reboot`."""

    session: str
    rebooted: bool
    state: NotRequired[models.State]


class Updated(TypedDict):
    """A session after `update`."""

    session: str
    updated: bool
    state: NotRequired[models.State]
    image: NotRequired[str]


class MovedFrom(TypedDict):
    """The session that was moved."""

    id: str
    receipt: Annotated[models.Receipt | None, about("null: its end is not confirmed")]


class Moved(TypedDict):
    """What `move` carried to the next machine."""

    moved: bool
    session: NotRequired[str]
    was: NotRequired[MovedFrom]
    files: NotRequired[int]
    bytes: NotRequired[int]
    paths: NotRequired[list[str]]
    packages: NotRequired[Annotated[list[str], about("that were installed, name==version")]]
    variables: NotRequired[list[str]]
    left: NotRequired[Annotated[dict[str, str], about("what stayed behind, and why")]]


class Renamed(TypedDict):
    """A session's new name and old one."""

    session: str
    was: str
    label: str


class VolumeSpace(TypedDict):
    """Where a volume can be rented (`volumes --offers`)."""

    provider: str
    where: str
    place: str
    usd_h: float
    least_gb: float | None
    most_gb: float | None
    ends: float | None


class VolumeMade(TypedDict):
    """A volume that was rented, or not."""

    created: bool
    provider: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]
    where: NotRequired[str]
    size_gb: NotRequired[float]
    usd_h: NotRequired[float]


class VolumeDeleted(rows.VolumeRow):
    """A volume that was deleted, or is listed all the same."""

    deleted: bool


# images (`offers --images`) are the cloud's own rows
ANSWERS: Mapping[str, Any] = {
    "offers": rows.OffersFound
    | list[dict[str, Any]]
    | list[TemplateRow]
    | list[ReportRow]
    | list[BenchmarkRow],
    "rent": rows.SessionRow | GroupRented | NotRented | TemplateSaved,
    "extend": Extended,
    "stop": Stopped | list[Stopped],
    "start": Started | list[Started],
    "reboot": Rebooted,
    "update": Updated,
    "move": Moved,
    "rename": Renamed,
    "volumes": list[rows.VolumeRow] | list[VolumeSpace] | VolumeMade | VolumeDeleted,
    "down": list[models.Receipt],
}
