"""Search for the picker: the same search as the verb `offers`, priced, in one shape."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.errors import AuthFailed, GpunbError
from gpunb.hints import written
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpunb.cli.context import Context
    from gpunb.offers import Ranked, SearchResult
    from gpunb.presentation.api import Facets

__all__ = ["Found", "Wanted", "needs_key", "packed", "search", "shaped"]

MOST = 20_000
CUT = {"gpu": 80, "region": 60, "country": 60, "cpu": 80, "offer_id": 120, "key": 200, "why": 600}
PART = 2_000  # rows in one message
PLAIN_PART = 500  # rows in one message to a page that can't unpack


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the picker searches for.

    Attributes
    ----------
    query
        A query as `offers` takes it.
    hours
        Of the rental; None is the setting.
    budget
        US dollars that the picker's field begins with.
    filters
        The values of `gpunb.cli.offer_options.filters`, by name.
    """

    query: str = ""
    hours: float | None = None
    budget: float | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Found:
    """The result of a search.

    Attributes
    ----------
    rows
        `gpunb.presentation.shapes.ranked_shape` of each offer, best first, its texts cut.
    ranked
        The offer of each row, by the row's key.
    failed
        Clouds that failed, and whether a key would help.
    """

    hours: float = 1.0
    disk_gb: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    ranked: dict[str, Ranked] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    facets: Facets | None = None
    notes: list[str] = field(default_factory=list)


def search(context: Context, wanted: Wanted) -> Found:
    """Search the clouds.

    Raises
    ------
    BadInput
        The query or a filter breaks its rule. Clouds that fail raise nothing: they are named.
    """
    from gpunb.services import searching

    given: dict[str, Any] = {"cloud": (), "disk": None, **wanted.filters}
    result = searching.find(
        context,
        [wanted.query] if wanted.query else [],
        length=None if wanted.hours is None else wanted.hours * 3600.0,
        limit=MOST,
        **given,
    )
    found = shaped(result)
    found.failed += [
        _keyless(context, answer.provider)
        for answer in result.answers
        if needs_key(context, answer.provider) and not _named(found, answer.provider)
    ]
    return found


def needs_key(context: Context, provider: str) -> bool:
    """Return whether nothing can be rented there before `login`: most clouds show offers without a key."""
    cloud = context.provider(provider)
    return cloud.needs_key and cloud.config.key is None


def _named(found: Found, provider: str) -> bool:
    """Return whether the cloud's failure is listed already; a missing key is then noted on it."""
    for one in found.failed:
        if one["provider"] == provider:
            one["login"] = True
            return True
    return False


def _keyless(context: Context, provider: str) -> dict[str, Any]:
    title = context.provider(provider).title
    return {
        "provider": provider,
        "message": f"there is no key for {title}; its offers are shown, and renting one needs it",
        "hint": f"%gpu login {provider}",
        "login": True,
    }


def shaped(result: SearchResult) -> Found:
    """Convert a search's result to what the picker needs."""
    from gpunb.offers import explain
    from gpunb.presentation.shapes import facets, ranked_shape

    found = Found(hours=result.query.ask.hours, disk_gb=result.query.ask.disk_gb)
    for row in result.rows:
        shape = {name: _cut(name, value) for name, value in ranked_shape(row).items()}
        key = str(shape["key"])
        if key in found.ranked:  # two offers with the same key: the better one stays
            continue
        found.ranked[key] = row
        found.rows.append(shape)
    found.facets = facets(found.rows)
    found.failed = [_failure(answer.provider, answer.error) for answer in result.failed]
    found.notes = [clean(line) for line in explain(result)]
    return found


def _cut(name: str, value: Any) -> Any:
    most = CUT.get(name)
    if most is None or not isinstance(value, str) or len(value) <= most:
        return value
    return f"{value[: most - 1]}…"


def _failure(provider: str, error: GpunbError | None) -> dict[str, Any]:
    message = error.message if error is not None else "no answer"
    hint = written((error.hint if error is not None else None) or "", "notebook")
    return {
        "provider": clean(provider),
        "message": clean(message)[:400],
        "hint": clean(hint)[:400],
        "login": isinstance(error, AuthFailed),
    }


def packed(rows: Sequence[dict[str, Any]], *, zipped: bool) -> Iterator[bytes]:
    """Pack the rows as JSON parts that a Jupyter server lets through (1 MB/s on average), at least one."""
    size = PART if zipped else PLAIN_PART
    for at in range(0, max(1, len(rows)), size):
        part = json.dumps(rows[at : at + size], separators=(",", ":"), allow_nan=False).encode()
        yield gzip.compress(part, 3, mtime=0) if zipped else part
