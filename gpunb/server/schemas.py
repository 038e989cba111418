"""Request bodies and query values, checked: a refusal names the field, the value and the rule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpunb.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Body", "Confirm", "Down", "Empty", "Extend", "Login", "Offers", "Port", "Rename", "Rent",
    "SettingsPatch", "Start", "Stop", "Transfer", "number", "parse", "read", "word",
]  # fmt: skip

BODY_MAX = 1 << 20
_SECRET = frozenset({"key", "token"})

Hours = Annotated[float, Field(gt=0, le=8784)]
Idle = Annotated[float, Field(ge=60, le=8784 * 3600)]
Dollars = Annotated[float, Field(gt=0, le=1e9)]
Gigabytes = Annotated[float, Field(ge=0, le=1e6)]
Name = Annotated[str, Field(max_length=64)]
Word = Annotated[str, Field(max_length=64)]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Token = Annotated[str, Field(max_length=200)]
_SETTING = "null or left out: the setting"


class Body(BaseModel):
    """A body; unknown fields, NaN and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def arguments(self) -> dict[str, Any]:
        """The arguments that a confirmation is bound to."""
        return self.model_dump(exclude={"token"}, exclude_none=True)


class Empty(Body):
    """No fields."""


class Offers(Body):
    """What to search."""

    query: Annotated[
        str, Field(max_length=2000, description="as `gpunb offers` takes it: vram >= 80 and country in EU")
    ] = ""
    gpu: Annotated[str, Field(max_length=200, description="models, with commas")] = ""
    hours: Annotated[Hours | None, Field(description=_SETTING)] = None
    disk_gb: Annotated[Gigabytes | None, Field(description=_SETTING)] = None
    clouds: Annotated[
        list[Word], Field(max_length=64, description=f"{_SETTING}; `all` is every installed one")
    ] = []
    rental: Annotated[
        Literal["on-demand", "spot", "reserved"],
        Field(
            description="spot: may be taken back, cheaper; reserved: paid ahead for a month or more",
        ),
    ] = "on-demand"
    limit: Annotated[int, Field(ge=1, le=20_000)] = 10_000


class Rent(Body):
    """What to rent, and until when."""

    offer: Annotated[str, Field(min_length=1, max_length=400, description="the offer's key")]
    hours: Hours
    idle_s: Annotated[Idle | None, Field(description=_SETTING)] = None
    budget_usd: Annotated[Dollars | None, Field(description=_SETTING)] = None
    disk_gb: Annotated[Gigabytes | None, Field(description="null or left out: as searched")] = None
    name: Name | None = None
    token: Token | None = None


class Extend(Body):
    """What to give a session more of."""

    hours: Annotated[Hours | None, Field(description="added to the deadline")] = None
    idle_s: Idle | None = None
    budget_usd: Annotated[Dollars | None, Field(description="the new budget for all of it")] = None
    token: Token | None = None


class Stop(Body):
    """Nothing but the token."""

    token: Token | None = None


class Start(Stop):
    """Nothing but the token."""


class Down(Stop):
    """Whether to bring files back first."""

    save: Annotated[bool, Field(description="bring back first what --save asked for")] = True


class Confirm(BaseModel):
    """An action; its own fields are checked by its own model."""

    model_config = ConfigDict(extra="allow", strict=True)

    action: Literal["rent", "extend", "stop", "start", "down"]
    session: Name | None = None


class Transfer(Body):
    """Two sides, one of them on the host."""

    source: Annotated[Path, Field(description="one of the two begins with a colon: that one is on the host")]
    target: Annotated[Path, Field(description="the other is on the server, from its root folder")]
    dry_run: bool = False


class Rename(Body):
    """Another path on the host."""

    to: Annotated[Path, Field(description="the new path")]


class Port(Body):
    """A port of the host."""

    port: Annotated[int, Field(ge=1, le=65535)]


class Login(Body):
    """A cloud and its key."""

    provider: Annotated[str, Field(min_length=1, max_length=64)]
    key: Annotated[str, Field(min_length=1, max_length=4096)]


class SettingsPatch(Body):
    """Settings to write; null takes one out of the file. What they may be, `gpunb.settings` says."""

    clouds: Annotated[list[Word], Field(min_length=1, max_length=64)] | None = None
    hours: float | str | None = None
    idle: Annotated[str | None, Field(description="15m, 2h")] = None
    budget: float | str | None = None
    disk_gb: float | None = None
    python: Annotated[str, Field(max_length=4096)] | None = None
    save: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=256)] | None = None
    cell_timeout: str | None = None
    log_level: str | None = None


M = TypeVar("M", bound=BaseModel)


def read(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a request; {} without a body.

    Raises
    ------
    BadInput
        It is not one.
    """
    if len(raw) > BODY_MAX:
        msg = f"body: {len(raw)} bytes: at most {BODY_MAX}"
        raise BadInput(msg, bill="nothing was changed")
    if not raw.strip():
        return {}
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as err:
        msg = f"body: {_shown(raw[:80])}: is not JSON ({err})"
        raise BadInput(msg, bill="nothing was changed") from err
    if not isinstance(data, dict):
        msg = f"body: {_shown(data)}: must be a JSON object"
        raise BadInput(msg, bill="nothing was changed")
    return data


def parse(model: type[M], raw: Mapping[str, Any]) -> M:
    """Validate `raw` as a body of that kind.

    Raises
    ------
    BadInput
        Names the first field that is wrong, its value, and the rule.
    """
    try:
        return model.model_validate(dict(raw))
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "body"
        known = [field for field in model.model_fields if field != "token"]
        if first["type"] == "extra_forbidden":
            rule = f"is no field here; there are {', '.join(known) or 'none'}"
        elif first["type"] == "missing":
            msg = f"{name}: is missing; it must be there"
            raise BadInput(msg, bill="nothing was changed") from None
        else:
            rule = first["msg"].removeprefix("Value error, ")
        value = "****" if name.split(".")[0] in _SECRET else _shown(first["input"])
        msg = f"{name}: {value}: {rule}"
        raise BadInput(msg, bill="nothing was changed") from None


def number(name: str, given: str | None, *, default: int, least: int, most: int) -> int:
    """Return a whole number of the query.

    Raises
    ------
    BadInput
        It is none, or out of its range.
    """
    if given is None:
        return default
    if given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most:
        return int(given)
    msg = f"{name}: {_shown(given)}: must be a whole number from {least} to {most}"
    raise BadInput(msg)


def word(name: str, given: str | None, allowed: tuple[str, ...]) -> str:
    """Return the query's value if it is one of `allowed`; the first of them if there is none.

    Raises
    ------
    BadInput
        It is another word.
    """
    if given is None:
        return allowed[0]
    if given in allowed:
        return given
    msg = f"{name}: {_shown(given)}: must be one of {', '.join(allowed)}"
    raise BadInput(msg)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
