"""`rent`, `offers`, `sessions` and `session`: how a program comes to a session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.python_api import process_end, words
from gpunb.python_api.frontend import frontend
from gpunb.python_api.listed import Offer, Offers, Sessions
from gpunb.python_api.live_session import Session
from gpunb.python_api.waiting import twin

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from gpunb.python_api.words import Filters, Names

__all__ = ["offers", "offers_async", "rent", "rent_async", "session", "sessions"]


def rent(
    query: str = "",
    *,
    hours: float | str | dt.timedelta | None = None,
    budget: float | str | None = None,
    idle: str | dt.timedelta | None = None,
    name: str | None = None,
    offer: Offer | str | None = None,
    bid: float | None = None,
    image: str | None = None,
    env: Mapping[str, str] | None = None,
    ports: Sequence[int | str] = (),
    template: str | None = None,
    python: str | None = None,
    requirements: str | os.PathLike[str] | None = None,
    pip: Names = (),
    save: Names = (),
    volumes: Sequence[str] = (),
    **filters: Unpack[Filters],
) -> Session:
    """Rent the best offer that fits, and return the session when it is ready for cells.

    The call is the yes: it is bounded by `budget`, `hours` and ``max_price``. If the best offer is gone, the
    next one like it is taken, if it costs no more. The lease is armed before the call returns, so that the
    session ends by itself, whatever becomes of this process. As a context manager the session ends with the
    block: results first.

    Parameters
    ----------
    query
        The query language of ``gpunb offers``: ``"vram >= 80 and reliability > 98%"``.
    hours
        How long it lives: hours, "90m", or a timedelta. By default the setting ``hours``.
    budget
        US dollars for all of it; "none" is no limit. By default 1.2 times gpu and disk for `hours`.
    idle
        It ends after so long without a run or a transfer: "15m", a timedelta, or "never".
    offer
        An offer of `offers`, or its whole id: this one only.
    bid
        With ``spot=True``: US dollars an hour.
    image, env, ports, template, python
        The container or system, its variables, the ports that are open to the world, the cloud's template,
        and the host's Python for cells.
    requirements, pip
        A file of packages, or requirements, that are installed when it is ready.
    save
        Paths on the host that come home before the end.
    volumes
        ``"NAME:/PATH"`` of each volume to mount.
    filters
        See `Filters`: ``gpu="L4"``, ``max_price=1.5``, ``cloud="vast"``, …

    Raises
    ------
    BadInput
        A value breaks its rule, or no offer fits. Nothing was rented.
    GpunbError
        What became of it, and what it means for the bill.

    Examples
    --------
    >>> with gpunb.rent(gpu="L4", hours=2, budget=3, save="out") as s:  # doctest: +SKIP
    ...     s.run("train.py", sync=".").wait()
    """
    from gpunb.providers.machine import ports as machine_ports
    from gpunb.services import renting_flow

    given = words.filters("rent", filters)
    disk = given.pop("disk", None)
    lines = words.packages("rent", pip)
    inside: dict[str, Any] = {
        "image": image,
        "env": words.environment("rent", env),
        "ports": machine_ports.wanted(tuple(str(port) for port in ports)),
        "template": template or "",
    }
    wish = renting_flow.Wish(
        query=(query,) if query else (),
        flags=given,
        offer=offer.id if isinstance(offer, Offer) else offer,
        length=words.hours_s("rent", hours),
        disk=disk,
        name=name,
        idle_s=words.idle_s("rent", idle),
        budget_usd=words.usd("rent", "budget", budget),
        bid=bid,
        python=python,
        requirements=None if requirements is None else Path(requirements),
        save=(save,) if isinstance(save, str) else tuple(save),
        volumes=tuple(volumes),
        inside=inside,
    )
    with frontend() as context:
        made = renting_flow.rent(context, wish, yes=True)
    assert made is not None  # noqa: S101 - the yes was given
    session = Session(made.id, made.name)
    process_end.rented(session)
    if lines:
        session.pip(*lines)
    return session


def offers(
    query: str = "",
    *,
    hours: float | str | dt.timedelta | None = None,
    limit: int | None = None,
    **filters: Unpack[Filters],
) -> Offers:
    """Find machines that can be rented now, best first: price for the whole time, waiting and risk.

    Parameters
    ----------
    query, hours, filters
        As for `rent`.
    limit
        How many at most; None is all.

    Raises
    ------
    BadInput
        A value breaks its rule. A cloud that fails raises nothing: it is in ``notes``.
    """
    from gpunb.services import searching

    given = words.filters("offers", filters)
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        msg = f"offers: limit={limit!r} must be a number from 1 up"
        raise BadInput(msg)
    with frontend() as context:
        length = words.hours_s("offers", hours)
        texts = [query] if query else []
        return Offers(searching.find(context, texts, length=length, limit=None, **given), limit)


def sessions() -> Sessions:
    """List the live sessions, from the ledger and without the network."""
    with frontend() as context:
        return Sessions(Session(one.id, one.name) for one in context.ledger.sessions())


def session(name: str | None = None) -> Session:
    """Return the live session called `name`; without a name the only one, or the one rented here last.

    Raises
    ------
    SessionNotFound, SessionOver, SessionAmbiguous
        None or several fit; the message says which there are.
    """
    with frontend() as context:
        found = context.session(name)
        return Session(found.id, found.name)


rent_async = twin(rent)
offers_async = twin(offers)
