"""What the verbs that run something print with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation import rows
from gpunb.presentation.models import about

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS"]


class Switched(TypedDict):
    """Whether plain cells run on a host (`on`, `off`)."""

    on: bool
    session: NotRequired[str]


class CellRun(TypedDict):
    """A cell that was run; with --detach it has no output yet."""

    run: NotRequired[str]
    session: str
    state: str
    exit_code: NotRequired[int]
    figures: NotRequired[Annotated[list[str], about("the files of its pictures")]]
    stdout: NotRequired[str]
    stderr: NotRequired[str]
    outputs: NotRequired[
        Annotated[list[dict[str, Any]], about("as in a notebook's file, with all MIME types")]
    ]


class MemberCell(TypedDict):
    """The cell of one member of a group."""

    rank: int
    session: str
    run: str
    stdout: NotRequired[str]
    stderr: NotRequired[str]
    outputs: NotRequired[list[dict[str, Any]]]


class GroupCellRun(TypedDict):
    """A cell that was run on all members of a group (`cell -s GROUP`)."""

    group: str
    exit_code: int
    members: list[MemberCell]
    figures: list[str]


class JobRun(TypedDict):
    """A job that was started (`run`); without --detach it has ended."""

    run: str
    session: str
    name: str
    state: str
    exit_code: NotRequired[int | None]
    output: NotRequired[Annotated[str, about("the notebook with its outputs, here")]]


class OnceRun(TypedDict):
    """A run with a machine of its own (`once`)."""

    rented: NotRequired[Annotated[bool, about("false: the answer was no")]]
    session: NotRequired[str]
    run: NotRequired[str]
    name: NotRequired[str]
    state: NotRequired[str]
    exit_code: NotRequired[int | None]
    usd: NotRequired[Annotated[float, about("what the session cost")]]


class Executed(TypedDict):
    """A command of the host and what it printed (`exec`)."""

    session: str
    exit_code: int
    stdout: str
    stderr: str


class RunText(TypedDict):
    """What a run has printed (`logs`)."""

    run: str
    session: str
    state: str
    exit_code: int | None
    text: str


class MachineLog(TypedDict):
    """A machine's own log (`logs --instance`, `logs --daemon`)."""

    session: str
    instance: str
    daemon: bool
    text: str
    events: list[str]


class RunEnd(TypedDict):
    """How a run ended (`attach`, `pip`)."""

    run: str
    session: str
    state: str
    exit_code: int | None


class Exported(TypedDict):
    """A notebook that was written, and the runs in it."""

    file: str
    runs: list[str]


class Cancelled(TypedDict):
    """A run that was asked to end."""

    run: str
    session: str
    state: str
    was_over: bool


class Restarted(TypedDict):
    """Whether the host has a new kernel."""

    restarted: bool
    session: NotRequired[str]


class Put(TypedDict):
    """Variables that were sent."""

    names: list[str]
    unchanged: list[str]
    bytes: int
    seconds: float
    session: str


class Got(TypedDict):
    """Variables that were brought, each with its type."""

    names: dict[str, str]
    session: str


ANSWERS: Mapping[str, Any] = {
    "on": Switched,
    "off": Switched,
    "cell": CellRun | GroupCellRun,
    "once": OnceRun,
    "run": JobRun,
    "exec": Executed,
    "runs": list[rows.RunRow] | list[rows.JobRow],
    "logs": RunText | MachineLog,
    "attach": RunEnd,
    "export": Exported,
    "cancel": list[Cancelled],
    "restart": Restarted,
    "put": Put,
    "get": Got,
    "pip": RunEnd,
}
