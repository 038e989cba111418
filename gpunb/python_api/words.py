"""Arguments as Python programs give them: lengths of time, amounts, search filters."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from gpunb import units
from gpunb.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Filters", "Names", "environment", "filters", "hours_s", "idle_s", "packages", "parameter", "usd"]

Names = str | Sequence[str]
Amount = str | float


class Filters(TypedDict, total=False):
    """What an offer must meet, as the options of ``gpunb offers`` say it.

    Attributes
    ----------
    gpu, cloud, region, kind
        Names, one or several: one of them must fit. `kind` is container, vm or bare-metal.
    gpus
        How many GPUs: 4, "1..8", "2..".
    vram, disk, up, down
        GB: memory of each GPU, disk, and the traffic that is expected (in the price).
    max_price, max_total
        US dollars: an hour with the disk, and all of it.
    spot, reserved, verified
        Kinds of rental, and only hosts that their cloud has verified.
    """

    gpu: Names | None
    gpus: str | int | None
    vram: Amount | None
    max_price: Amount | None
    max_total: Amount | None
    cloud: Names | None
    region: Names | None
    disk: Amount | None
    kind: Names | None
    spot: bool
    reserved: bool
    verified: bool
    up: Amount | None
    down: Amount | None


def filters(verb: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters, checked; those that are None are left out."""
    from gpunb.services import searching

    return searching.checked(verb, {name: value for name, value in given.items() if value is not None})


def hours_s(verb: str, value: str | float | dt.timedelta | None) -> float | None:
    """Seconds of `value`: hours, a text such as "90m", or a timedelta."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value) * 3600.0
    return _seconds(verb, "hours", value, "a number of hours above 0, a text such as '90m', or a timedelta")


def idle_s(verb: str, value: str | dt.timedelta | None) -> float | None:
    """Seconds of `value`: a text such as "15m", a timedelta, or "never"."""
    rule = "a text with a unit such as '15m', a timedelta, or 'never'"
    return math.inf if value == "never" else _seconds(verb, "idle", value, rule)


def _seconds(verb: str, name: str, value: object, rule: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, dt.timedelta) and value > dt.timedelta(0):
        return value.total_seconds()
    if isinstance(value, str):
        try:
            return units.duration(value)
        except ValueError as err:
            msg = f"{verb}: {name}={value!r}: {err}"
            raise BadInput(msg, bill="nothing was changed") from err
    msg = f"{verb}: {name}={value!r} must be {rule}"
    raise BadInput(msg, bill="nothing was changed")


def usd(verb: str, name: str, value: str | float | None) -> float | None:
    """US dollars of `value`: a number, a text such as "$5", or "none" for no limit."""
    if value is None:
        return None
    if value in ("none", math.inf):
        return math.inf
    try:
        if isinstance(value, str):
            return units.money(value)
        if not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
    except (TypeError, ValueError):
        pass
    msg = f"{verb}: {name}={value!r} must be an amount in US dollars from 0 up, or 'none'"
    raise BadInput(msg, bill="nothing was changed")


def environment(verb: str, given: Mapping[Any, Any] | None) -> dict[str, str]:
    """The variables, checked: names of Python's kind, values as text."""
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not name.isidentifier() or not isinstance(value, str):
            msg = f"{verb}: env={{{name!r}: …}} must map names of variables to texts"
            raise BadInput(msg, bill="nothing was changed")
    return dict(given or {})


def packages(verb: str, given: Names) -> list[str]:
    """The lines of requirements in `given`, each of one line."""
    lines: list[Any] = [given] if isinstance(given, str) else list(given)
    for line in lines:
        if not isinstance(line, str) or not line.strip() or len(line.splitlines()) > 1:
            msg = f"{verb}: pip={line!r} must be a requirement of one line, such as 'torch==2.4'"
            raise BadInput(msg, bill="nothing was changed")
    return [line.strip() for line in lines]


def parameter(name: str, value: Any) -> Any:
    """A notebook's parameter, if JSON has a form for it: it is written into the notebook as Python."""
    import json

    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as err:
        msg = f"run: parameters[{name!r}]={value!r:.100} must be a plain value: {err}"
        raise BadInput(msg) from err
    return value
