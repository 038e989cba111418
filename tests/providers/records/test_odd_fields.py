"""Every field of every record, replaced by what it can't be: no crash, no lost instance, no absurd price.

The records say what the clouds answer on a good day. On a bad one a field is null, missing, of another type
or absurd, in a row that may be somebody else's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpunb.errors import BadAnswer, GpunbError, InstanceGone, OutcomeUnknown
from gpunb.offers import admit
from gpunb.providers import Instance, InstanceState, Offer, OfferQuery
from tests.providers.records.test_records import Cloud, create, record

GONE = object()
ODD = [GONE, None, "", -1, 1e308, float("nan"), 10**30, [], {}, [None], True, "\x1b[31mx"]
CONTAINERS = OfferQuery(kinds=("container",))

CALLS: dict[str, Callable[[Cloud], Any]] = {
    "vast-instance-list": lambda cloud: cloud.provider.instances(),
    "vast-instance-running": lambda cloud: cloud.provider.get("33402296"),
    "vast-instance-stopped": lambda cloud: cloud.provider.get("33402296"),
    "vast-volumes": lambda cloud: cloud.provider.volumes(),
    "vast-charges": lambda cloud: cloud.provider.usage("12345678"),
    "vast-user": lambda cloud: cloud.provider.check(),
    "vast-price-increases": lambda cloud: cloud.provider.price_increases(),
    "vast-offers-h100": lambda cloud: cloud.provider.search(OfferQuery()),
    "vast-create-ok": create,
    "vast-volume-created": lambda cloud: cloud.provider.create_volume("7", 20, "data"),
    "deepinfra-availability": lambda cloud: cloud.provider.search(OfferQuery()),
    "deepinfra-running": lambda cloud: cloud.provider.get("container-0a1b2c3d"),
    "deepinfra-created": create,
    "fluence-containers": lambda cloud: cloud.provider.instances(),
    "fluence-container-active": lambda cloud: cloud.provider.get("b54672e2-0a8b-490f-81ee-7d5a868471fc"),
    "fluence-plans": lambda cloud: cloud.provider.search(CONTAINERS),
    "sesterce-offers": lambda cloud: cloud.provider.search(OfferQuery()),
    "sesterce-instance-active": lambda cloud: cloud.provider.get("66aa00000000000000000001"),
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in an answer; of a list the first row, the others are alike."""
    pairs = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for name, inner in pairs:
        yield (*path, name)
        yield from leaves(inner, (*path, name))


def changed(body: Any, path: tuple[Any, ...], odd: Any) -> Any:
    body = copy.deepcopy(body)
    at = body
    for name in path[:-1]:
        at = at[name]
    if odd is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = odd
    return body


def said(name: str, cloud: Cloud, body: Any) -> Any:
    """What gpunb makes of `body` in the place of the record's own."""
    more = [record("fluence-empty")] if name == "fluence-containers" else []
    cloud.answers = [{**record(name), "body": json.dumps(body)}, *more]
    return CALLS[name](cloud)


def check(name: str, good: Any, got: Any) -> None:
    found = got if isinstance(got, list) else [got]
    if found and isinstance(found[0], Offer):
        kept, _ = admit(name, found)
        assert all(0 <= one.usd_h <= 1e5 for one in kept)
    for one in found:
        if isinstance(one, Instance):
            assert 0 <= one.usd_h <= 1e5
            assert 0 <= one.stopped_usd_h <= 1e5
            assert 0 <= one.port <= 65535
    if name in ("vast-instance-list", "fluence-containers"):
        states = {one.id: one.state for one in found}
        for one in good[1:]:  # an odd row takes no other with it
            assert one.id in states
        for one in good[:1]:
            assert states.get(one.id, one.state) is one.state or states[one.id] is not InstanceState.GONE


@pytest.mark.parametrize("name", CALLS)
def test_an_odd_field_is_an_error_of_ours_or_a_sane_value(name: str) -> None:
    body = record(name)["body"]
    cloud = Cloud(name)
    good = said(name, cloud, body)
    for path in leaves(body):
        for odd in ODD:
            refused, got = None, None
            try:
                got = said(name, cloud, changed(body, path, odd))
            except GpunbError as err:
                refused = err
            if refused is None:
                check(name, good, got)
            else:
                assert fits(refused, name, path), (path, odd, refused)


def fits(refused: GpunbError, name: str, path: tuple[Any, ...]) -> bool:
    """Whether this error may stand for an odd field at `path`."""
    if CALLS[name] is create or "created" in name:  # it may be there, and billed
        return isinstance(refused, OutcomeUnknown) or getattr(refused, "effect", "") == "none"
    gone = isinstance(refused, InstanceGone) and path == ("instances",)  # how Vast says so
    return (gone or isinstance(refused, BadAnswer)) and refused.message.isprintable()
