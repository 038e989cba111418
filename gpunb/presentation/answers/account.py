"""What the verbs of accounts and settings print with ``--json``, and every verb that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation.models import State, about

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS", "Failure"]


class Error(TypedDict):
    """What happened, what it means for the bill, what to type next."""

    type: str
    message: str
    bill: str | None
    next: str | None


class Failure(TypedDict):
    """What a verb prints that fails; its exit code is not 0."""

    error: Error


class LoggedIn(TypedDict):
    """A cloud's account, and where its key is kept."""

    provider: str
    user: str
    balance_usd: float | None
    spends_from: str
    stored: str
    scoped: bool
    may: list[str]
    terms_accepted: bool


class LoggedOut(TypedDict):
    """A cloud's key that was forgotten."""

    provider: str
    removed: Annotated[Any, about("where keys were")]
    live: Annotated[list[str], about("sessions that can't be ended without it")]


class HostGpu(TypedDict):
    """A GPU of a machine of one's own."""

    number: int
    name: str
    vram_gb: float
    taken: str


class HostRow(TypedDict):
    """A machine of one's own (`hosts`)."""

    host: str
    address: str
    price_usd_h: float
    trust: str
    tags: list[str]
    ready: bool
    error: NotRequired[str]
    reached: NotRequired[str]
    gpus: NotRequired[list[HostGpu]]
    cores: NotRequired[float]
    ram_gb: NotRequired[float]
    disk_gb: NotRequired[float]
    python: NotRequired[str]
    sessions: NotRequired[list[str]]
    cleaned: NotRequired[list[str]]


class HostAdded(TypedDict):
    """A machine that is listed from now on."""

    host: str
    address: str
    port: int | None
    added: bool


class HostRemoved(TypedDict):
    """A machine that is not listed any more."""

    host: str
    removed: Literal[True]
    sessions: list[str]


class KeyRow(TypedDict):
    """A key at a cloud (`keys`)."""

    provider: str
    id: str
    name: str
    key: str


class KeyRevoked(KeyRow):
    """A key that was taken away, or not."""

    revoked: bool


class KeyAttached(TypedDict):
    """Whether a key may log in at a session's machine."""

    session: str
    attached: bool


class Trust(TypedDict):
    """How far a session's host is trusted, or the key that it has now."""

    session: str
    trust: NotRequired[str]
    was: NotRequired[str]
    host_key: NotRequired[str]
    state: NotRequired[State]


class Finding(TypedDict):
    """A check of `doctor`."""

    what: str
    level: str
    finding: str
    todo: str


class Setting(TypedDict):
    """A setting and where it comes from."""

    key: str
    value: Any
    source: str


class RefusedSetting(TypedDict):
    """A setting that a project's file may not set."""

    key: str
    value: Any
    why: str
    source: str
    hint: str


class Config(TypedDict):
    """All settings."""

    settings: list[Setting]
    user_file: str
    project_file: str | None
    refused: list[RefusedSetting]


class Cap(TypedDict):
    """A cap and what is used of it."""

    value: Any
    used: NotRequired[float]
    promised: NotRequired[Annotated[float, about("what live sessions may still cost")]]
    others: NotRequired[Annotated[float, about("the part of used that is not gpunb's")]]
    left: NotRequired[float | None]


class Limits(TypedDict):
    """The caps over all sessions."""

    limits: dict[str, Cap]


class NoticeRow(TypedDict):
    """A notice; `left` are the channels that it still goes to, `failed` those that did not take it."""

    id: str
    kind: str
    session: str
    at: float
    text: str
    left: Any
    failed: Any


class Notices(TypedDict):
    """Where notices go, and the last ones; `vast_listen` is where Vast.ai's webhooks are taken, or ""."""

    channels: list[str]
    notices: list[NoticeRow]
    vast_listen: str


class Sent(TypedDict):
    """Whether a channel took a test."""

    channel: str
    sent: bool
    why: str


class NoticeTest(TypedDict):
    """The outcome of `notify test`."""

    test: list[Sent]


class Skill(TypedDict):
    """The skill file, or where it was written."""

    skill: NotRequired[str]
    files: NotRequired[list[str]]


class Supervised(TypedDict):
    """The supervisor has ended."""

    supervised: Literal[True]


class Completion(TypedDict):
    """The lines for a shell."""

    shell: str
    source: str


ANSWERS: Mapping[str, Any] = {
    "login": LoggedIn,
    "logout": LoggedOut,
    "hosts": list[HostRow] | HostRow | HostAdded | HostRemoved,
    "keys": list[KeyRow] | KeyRevoked | KeyAttached,
    "trust": Trust,
    "doctor": list[Finding],
    "config": Config,
    "limits": Limits,
    "notify": Notices | NoticeTest,
    "skill": Skill,
    "supervise": Supervised,
    "completion": Completion,
}
