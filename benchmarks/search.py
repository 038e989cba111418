"""A search of four clouds with 5,000 offers each: CPU from the answers to the ranked rows.

The real providers are asked in threads, as `gpunb offers` asks them; their answers
come from memory instead of a network. The wire (the HTTP client with the same bytes,
and decoding their JSON) is measured alone, shown, and taken off for the bar.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import cpu_seconds, interleave, peak_of
from benchmarks._rows import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from gpunb.offers import Query
    from gpunb.providers import Offer, Provider

ROWS = 5000
LIMIT_MS = 150.0
OWN_LIMIT_MS = 75.0  # of it, for what the providers' mapping does not do
ROUNDS = 9
QUERY = "gpu_name in (H100,H200) and vram>=80 and reliability>0.98 order by total/gpu limit 20"
WIDEST = "limit 20"


def run(options: Options) -> Report:
    """Measure each step alone, and the whole search."""
    from pydantic_core import from_json

    from gpunb.offers import query_from_flags

    bodies = answers(ROWS)
    clouds = {name: _cloud(name, found) for name, found in bodies.items()}
    narrow, wide = query_from_flags(QUERY, hours=4, disk=50), query_from_flags(WIDEST, hours=4, disk=50)
    _check(clouds, narrow, wide)
    steps: dict[str, Callable[[], object]] = {
        "the wire: HTTP": lambda: _fetch(clouds, bodies),
        "the wire: JSON": lambda: [from_json(body) for found in bodies.values() for body in found.values()],
        "search": lambda: _search(clouds, narrow),
        "search, no filter": lambda: _search(clouds, wide),
        **{f"{name}: JSON and mapping": _asking(cloud, narrow) for name, cloud in clouds.items()},
    }
    samplers = {name: _cpu(step) for name, step in steps.items()}
    samplers["normalise, filter, rank"] = lambda: _after(clouds, narrow)
    samplers["normalise, filter, rank; no filter"] = lambda: _after(clouds, wide)
    found = interleave(samplers, options.rounds(ROUNDS), warm_up=2)
    wire = median(found["the wire: HTTP"]) + median(found["the wire: JSON"])
    _, peak = peak_of(lambda: _search(clouds, wide))
    report = Report()
    for name, samples in found.items():
        note = {"search": QUERY, "search, no filter": WIDEST}.get(name, "")
        report.results.append(
            Result(name=name, samples=[1e3 * one for one in samples], unit="ms CPU", note=note)
        )
    report.results.append(Result(name="peak memory of Python", samples=[peak / 1e6], unit="MB"))
    for name in ("search", "search, no filter"):
        beyond = 1e3 * (median(found[name]) - wire)
        report.bars.append(Bar(name=f"{name}, beyond the wire", value=beyond, limit=LIMIT_MS, unit="ms CPU"))
    for name in ("normalise, filter, rank", "normalise, filter, rank; no filter"):
        bar = Bar(name=name, value=1e3 * median(found[name]), limit=OWN_LIMIT_MS, unit="ms CPU")
        report.bars.append(bar)
    size = sum(len(body) for one in bodies.values() for body in one.values())
    report.notes.append(
        f"{len(bodies)} clouds x {ROWS} offers, {size / 1e6:.1f} MB of JSON; garbage collector held back"
    )
    return report


def _cloud(name: str, bodies: Mapping[str, bytes]) -> Provider:
    import httpx
    from pydantic import SecretStr

    from gpunb.providers import ProviderConfig, provider_class

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, content=bodies[request.url.path], headers={"content-type": "application/json"}
        )

    options: dict[str, Any] = {"http": {"transport": httpx.MockTransport(answer), "pace": 0.0}}
    config = ProviderConfig(base_url="http://127.0.0.1:9", key=SecretStr("0123456789abcdef"), options=options)
    return provider_class(name)(config)


def _fetch(clouds: Mapping[str, Any], bodies: Mapping[str, Mapping[str, bytes]]) -> None:
    """The same requests through the same clients, with nothing made of the answers."""
    for name, cloud in clouds.items():
        client = cloud.http if hasattr(cloud, "http") else cloud._api  # noqa: SLF001 - no public name
        for path in bodies[name]:
            client.call("GET", path, expect=str)


def _asking(cloud: Provider, query: Query) -> Callable[[], object]:
    return lambda: cloud.search(query.ask)


def _search(clouds: Mapping[str, Provider], query: Query) -> object:
    from gpunb.offers import search

    return search(clouds, query, timeout=60)


def _cpu(step: Callable[[], object]) -> Callable[[], float]:
    return lambda: cpu_seconds(step)


def _after(clouds: Mapping[str, Provider], query: Query) -> float:
    """What is left once the offers are there; new ones each time, as the first pass changes them."""
    from gpunb.offers import admit, pick

    rows: dict[str, list[Offer]] = {name: cloud.search(query.ask) for name, cloud in clouds.items()}

    def work() -> object:
        offers = [offer for name, found in rows.items() for offer in admit(name, found)[0]]
        return pick(offers, query)

    return cpu_seconds(work)


def _check(clouds: Mapping[str, Provider], *queries: Query) -> None:
    """A search that fails or finds nothing would be quick."""
    from gpunb.offers import search

    for query in queries:
        result = search(clouds, query, timeout=60)
        sent = {answer.provider: answer.offers - answer.refused for answer in result.answers}
        if result.failed or set(sent.values()) != {ROWS} or len(result.rows) != 20:
            errors = [answer.error for answer in result.failed]
            msg = f"{len(result.rows)} rows of {sent}, {errors}"
            raise RuntimeError(msg)
