"""A search made of flags and query text: ``--gpu H100 --max-price 3 "reliability > 98%"``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.offers.gpus import wanted
from gpunb.offers.language.fields import FIELDS, KINDS, suggest
from gpunb.offers.language.parser import MOST_ROWS, parse
from gpunb.offers.language.tree import Compare, Value
from gpunb.offers.language.units import parse_quantity, parse_range
from gpunb.offers.query import Condition, Query, build, cloud_name, conjuncts
from gpunb.providers.base import OfferQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["parse_query", "query_from_flags"]

_MOST_NAMES = 100


def parse_query(text: str, *, hours: str | float = 1.0, disk: str | float | None = None) -> Query:
    """Parse `text` into a search, priced for `hours` hours and `disk` GB.

    Raises
    ------
    BadInput
        The text is no query; the message points at the character.
    """
    return query_from_flags(text, hours=hours, disk=disk)


def query_from_flags(
    text: str = "",
    *,
    gpu: str | Sequence[str] = (),
    gpus: str | int | None = None,
    vram: str | float | None = None,
    max_price: str | float | None = None,
    max_total: str | float | None = None,
    cloud: str | Sequence[str] = (),
    region: str | Sequence[str] = (),
    disk: str | float | None = None,
    kind: str | Sequence[str] = (),
    spot: bool = False,
    reserved: bool = False,
    verified: bool = False,
    hours: str | float = 1.0,
    up: str | float = 0.0,
    down: str | float = 0.0,
    image: str | float = 6.0,
    limit: int | None = None,
) -> Query:
    """Combine flags and query text into one search; an offer must meet all of them.

    Parameters
    ----------
    text
        The query language.
    gpu, cloud, region, kind
        Names, several with commas or as a sequence; one of them must fit.
    gpus
        How many GPUs: "4", "1..8", "2..".
    vram
        At least this much memory for each GPU, GB; or a range.
    max_price, max_total
        US dollars: an hour with the disk; all hours with disk and traffic.
    disk
        The disk asked for, GB: it must be possible, and is in the price.
    hours
        How long ("2", "90m", "3d"); the price is for so long.
    up, down
        What the host will send and receive, GB.
    image
        Size of the image that a container pulls, GB.
    limit
        How many rows; beats the text's.

    Raises
    ------
    BadInput
        A flag's value breaks its rule (the flag is named), or the text is no query.
    """
    parsed = parse(text)
    length = _at_least_0("--for", hours, "h")
    if not 0 < length <= 24 * 366:
        msg = f"--for {hours}: must be more than 0 and at most a year"
        raise BadInput(msg)
    if limit is not None and not 1 <= limit <= MOST_ROWS:
        msg = f"--limit {limit}: a limit is 1 to {MOST_ROWS}"
        raise BadInput(msg)
    conditions = [
        *_of_names(gpu=gpu, region=region, kind=kind, cloud=cloud),
        *_of_numbers(gpus=gpus, vram=vram, disk=disk, max_price=max_price, max_total=max_total),
        *_of_switches(spot=spot, reserved=reserved, verified=verified),
        *(Condition(node.text, node) for node in conjuncts(parsed.where)),
    ]
    ask = OfferQuery(
        hours=length, up_gb=_at_least_0("--up", up, "GB"), down_gb=_at_least_0("--down", down, "GB")
    )
    return build(
        ask,
        conditions,
        order=parsed.order,
        limit=limit if limit is not None else parsed.limit,
        image_gb=_at_least_0("--image-size", image, "GB"),
    )


def _of_names(
    *,
    gpu: str | Sequence[str],
    region: str | Sequence[str],
    kind: str | Sequence[str],
    cloud: str | Sequence[str],
) -> Iterable[Condition]:
    if names := _words("--gpu", gpu):
        yield _named("--gpu", names, "gpu", tuple(wanted(name) for name in names))
    if names := _words("--region", region):
        yield _named("--region", names, "region", names)
    if names := _words("--type", kind):
        yield _named("--type", names, "kind", tuple(_kind(name) for name in names))
    if names := _words("--cloud", cloud):
        yield _named("--cloud", names, "cloud", tuple(cloud_name(name) for name in names))


def _of_numbers(
    *,
    gpus: str | int | None,
    vram: str | float | None,
    disk: str | float | None,
    max_price: str | float | None,
    max_total: str | float | None,
) -> Iterable[Condition]:
    if gpus is not None:
        yield _ranged("--gpus", "gpus", gpus, str(gpus), "")
    if vram is not None:
        yield _ranged("--vram", "vram", vram, str(vram) if ".." in str(vram) else f"{vram}..", "GB")
    if disk is not None:
        yield _ranged("--disk", "disk", disk, f"{disk}..", "GB")
    if max_price is not None:
        yield _ranged("--max-price", "price", max_price, f"..{max_price}", "$")
    if max_total is not None:
        yield _ranged("--max-total", "total", max_total, f"..{max_total}", "$")


def _of_switches(*, spot: bool, reserved: bool, verified: bool) -> Iterable[Condition]:
    if spot and reserved:
        msg = "--spot and --reserved: a rental can't be both"
        raise BadInput(msg)
    if spot:
        yield Condition("--spot", _compare("rental", "=", ("spot",)))
    if reserved:
        yield Condition("--reserved", _compare("rental", "=", ("reserved",)))
    if verified:
        yield Condition("--verified", _compare("verified", "=", (True,)))


def _compare(name: str, op: str, values: tuple[Value, ...]) -> Compare:
    return Compare(FIELDS[name], op, values, negated=False, text="")


def _named(flag: str, names: Iterable[str], field: str, values: tuple[Value, ...]) -> Condition:
    return Condition(f"{flag} {','.join(names)}"[:200], _compare(field, "in", values))


def _ranged(flag: str, field: str, given: str | float, span: str, dimension: str) -> Condition:
    low, high = parse_range(span, dimension, name=flag)
    if any(end is not None and end < 0 for end in (low, high)):
        msg = f"{flag} {given}: it can't be below 0"
        raise BadInput(msg)
    ends = (0.0 if low is None else low, math.inf if high is None else high)
    return Condition(f"{flag} {given}"[:80], _compare(field, "..", ends))


def _words(flag: str, value: str | Sequence[str]) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    result = tuple(word.strip() for one in given for word in one.split(",") if word.strip())
    if len(result) > _MOST_NAMES or any(len(word) > 200 for word in result):
        msg = f"{flag}: at most {_MOST_NAMES} names of 200 characters are taken"
        raise BadInput(msg)
    return result


def _kind(name: str) -> str:
    result = KINDS.get(name.lower())
    if result is None:
        near = suggest(name, KINDS)
        msg = f"--type {name!r}: must be container, vm or bare-metal"
        raise BadInput(msg, hint=f"did you mean {near}?" if near else None)
    return result


def _at_least_0(flag: str, value: str | float, dimension: str) -> float:
    number = parse_quantity(str(value), dimension, name=flag)
    if number < 0:
        msg = f"{flag} {value}: it can't be below 0"
        raise BadInput(msg)
    return number
