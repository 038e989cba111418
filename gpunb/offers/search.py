"""Search of all clouds at once, in threads, with filtering and ranking here.

A cloud that is slow, broken or answers nonsense is listed with its error and
does not delay the others. Its thread ends by its own deadline; an answer that
comes too late is dropped.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from gpunb.errors import BadAnswer, BadInput, GpunbError, ProviderError, Unavailable
from gpunb.offers.admit import LeftOut, admit
from gpunb.offers.language.fields import suggest
from gpunb.offers.language.predicate import Filter
from gpunb.offers.pricing import NO_HISTORY, History, Terms
from gpunb.offers.query import NO_GPU
from gpunb.offers.rank import Ranked, rank
from gpunb.providers.base import Capability, Offer, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpunb.offers.query import Query

__all__ = ["Answer", "SearchResult", "pick", "search"]

_NEEDS = {"spot": Capability.SPOT, "reserved": Capability.RESERVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of one cloud.

    `error` is set if it failed or was too slow; `note` if it was not asked.
    `offers` counts what it sent, `refused` the invalid ones among them.
    """

    provider: str
    offers: int = 0
    refused: int = 0
    seconds: float = 0.0
    error: GpunbError | None = None
    note: str = ""


@dataclass(slots=True, kw_only=True)
class SearchResult:
    """The result of a search: the ranked offers, and those left out.

    Attributes
    ----------
    rows
        The offers, best first, as many as the query's limit.
    matched
        How many fit, before the limit.
    answers
        One for each cloud, in the order of the mapping searched.
    counts
        For each condition, in the order they were tried, how many offers it left out.
    refused
        Invalid offers, with the reason.
    offers
        Every valid offer, fitting or not.
    """

    query: Query
    terms: Terms
    filters: list[Filter]
    rows: list[Ranked] = field(default_factory=list)
    matched: int = 0
    answers: list[Answer] = field(default_factory=list)
    counts: list[tuple[str, int]] = field(default_factory=list)
    refused: list[LeftOut] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)

    @property
    def failed(self) -> list[Answer]:
        """The clouds that failed or were too slow."""
        return [answer for answer in self.answers if answer.error is not None]

    def why_not(self, offer: Offer) -> str:
        """Return the first condition that leaves `offer` out, or "" if none does."""
        return next((one.text for one in self.filters if not one.test(offer)), "")

    def left_out(self) -> Iterator[LeftOut]:
        """List each offer not among the rows, and the reason: invalid, a condition, or the limit."""
        yield from self.refused
        shown = {id(row.offer) for row in self.rows}
        for offer in self.offers:
            reason = self.why_not(offer)
            if reason:
                yield LeftOut(offer.provider, offer.id, f"left out by {reason}")
            elif id(offer) not in shown:
                yield LeftOut(offer.provider, offer.id, f"beyond the limit of {self.query.limit}")


def search(
    providers: Mapping[str, Provider],
    query: Query,
    *,
    timeout: float = 30.0,
    on_answer: Callable[[Answer], None] | None = None,
    history: History = NO_HISTORY,
) -> SearchResult:
    """Search all `providers` at once; filter and rank their offers.

    Parameters
    ----------
    timeout
        Seconds to wait for the slowest; a cloud that has not answered by then
        is reported as `Unavailable`.
    on_answer
        Called in the caller's thread as each answer comes in.
    history
        What was seen in earlier rentals.

    Raises
    ------
    BadInput
        The query names a cloud that is not among `providers`.
    """
    chosen = _chosen(providers, query)
    answers: dict[str, Answer] = {}
    got: dict[str, list[Offer]] = {}
    refused: list[LeftOut] = []
    inbox: SimpleQueue[tuple[str, float, list[Offer] | GpunbError]] = SimpleQueue()
    waiting: set[str] = set()
    started = time.monotonic()

    def tell(answer: Answer) -> None:
        answers[answer.provider] = answer
        if on_answer is not None:
            on_answer(answer)

    for name, provider in chosen.items():
        rentals = [rental for rental in query.rentals if rental not in _NEEDS or provider.can(_NEEDS[rental])]
        if not rentals:
            tell(Answer(provider=name, note=f"has no {' or '.join(query.rentals)} offers"))
            continue
        waiting.add(name)
        # daemon: a cloud that hangs must not keep the interpreter from ending
        threading.Thread(
            target=_ask,
            args=(name, provider, query, rentals, inbox),
            name=f"gpunb-search-{name}",
            daemon=True,
        ).start()
    while waiting:
        try:
            name, seconds, reply = inbox.get(timeout=max(0.0, started + timeout - time.monotonic()))
        except Empty:
            break
        waiting.discard(name)
        if isinstance(reply, GpunbError):
            tell(Answer(provider=name, seconds=seconds, error=reply))
            continue
        got[name], bad = admit(name, reply)
        refused += bad
        tell(Answer(provider=name, seconds=seconds, offers=len(reply), refused=len(bad)))
    for name in [one for one in chosen if one in waiting]:
        msg = f"{chosen[name].title} did not answer within {timeout:g} s"
        error = Unavailable(msg, provider=name, hint="search again, or leave it out with --cloud")
        tell(Answer(provider=name, seconds=timeout, error=error))
    # in the order of the clouds, whichever answered first
    offers = [offer for name in chosen for offer in got.get(name, ())]
    result = pick(offers, query, history=history)
    result.answers = [answers[name] for name in chosen]
    result.refused = refused
    return result


def pick(offers: list[Offer], query: Query, *, history: History = NO_HISTORY) -> SearchResult:
    """Filter and rank `offers`, which `gpunb.offers.admit` has validated already."""
    terms = query.terms(history)
    filters = query.filters(terms)
    result = SearchResult(query=query, terms=terms, filters=filters, offers=offers)
    kept = offers
    for one in filters:
        fitting = list(filter(one.test, kept))
        result.counts.append((one.text, len(kept) - len(fitting)))
        kept = fitting
    if query.any_machine and any(offer.gpus for offer in kept) and not all(offer.gpus for offer in kept):
        # a machine of one's own is free, and would rank before every GPU
        only = Filter(NO_GPU, lambda offer: offer.gpus > 0)
        result.filters = [*filters, only]
        result.counts.append((only.text, sum(not only.test(offer) for offer in kept)))
        kept = list(filter(only.test, kept))
    result.matched = len(kept)
    result.rows = rank(kept, terms, query.order, query.limit)
    return result


def _chosen(providers: Mapping[str, Provider], query: Query) -> dict[str, Provider]:
    for name in query.clouds:
        if name not in providers:
            near = suggest(name, providers)
            msg = f"there is no cloud {name[:40]!r}; there are {', '.join(providers) or 'none'}"
            raise BadInput(msg, hint=f"did you mean {near}?" if near else None)
    return {
        name: provider for name, provider in providers.items() if not query.clouds or name in query.clouds
    }


def _ask(
    name: str,
    provider: Provider,
    query: Query,
    rentals: list[str],
    inbox: SimpleQueue[tuple[str, float, list[Offer] | GpunbError]],
) -> None:
    started = time.monotonic()
    answer: list[Offer] | GpunbError
    try:
        answer = [offer for rental in rentals for offer in provider.search(replace(query.ask, rental=rental))]
    except GpunbError as err:
        answer = err
    except Exception as err:  # noqa: BLE001 - a provider from outside this tree may raise anything; it is named
        answer = _unexpected(name, err)
    inbox.put((name, time.monotonic() - started, answer))


def _unexpected(name: str, err: Exception) -> ProviderError:
    msg = f"{name} failed unexpectedly: {type(err).__name__}: {str(err)[:200]}"
    answer = BadAnswer(
        msg, provider=name, hint="gpunb -v shows more; please report it to the provider's author"
    )
    answer.__cause__ = err
    return answer
