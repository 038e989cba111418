"""Lists that show themselves in a notebook: offers and sessions."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, SessionNotFound
from gpunb.hints import typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from gpunb.offers import SearchResult
    from gpunb.python_api.live_session import Session

__all__ = ["Offer", "Offers", "Sessions"]


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be rented now; ``gpunb.rent(offer=...)`` takes it.

    Attributes
    ----------
    place
        Its rank among the offers that were found, from 1.
    kind, rental
        "container", "vm" or "bare-metal"; "on-demand", "spot" or "reserved".
    vram_gb, ram_gb
        GB of each GPU, and of the machine.
    trust
        "own", "datacenter" or "stranger".
    usd_h, total_usd
        US dollars: an hour with the disk, and the whole time that was asked for.
    ready_s
        Seconds until it is expected to be ready.
    """

    place: int
    provider: str
    id: str
    gpu: str
    gpus: int
    vram_gb: float
    kind: str
    rental: str
    region: str
    country: str
    cores: float
    ram_gb: float
    trust: str
    reliability: float | None
    usd_h: float
    total_usd: float
    ready_s: float


class _Shown:
    """Shows a table in notebooks, and the same as a data frame."""

    def _rows(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _blocks(self) -> list[Any]:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return "".join(block.html() for block in self._blocks())

    def to_dataframe(self) -> pd.DataFrame:
        """A pandas data frame, one row each.

        Raises
        ------
        BadInput
            pandas is not installed here.
        """
        try:
            import pandas as pd
        except ImportError as err:
            msg = "to_dataframe: pandas is not installed here"
            raise BadInput(msg, hint="pip install pandas") from err
        return pd.DataFrame(self._rows())


class Offers(_Shown, list[Offer]):
    """Offers, best first.

    Attributes
    ----------
    matched
        How many fit in all.
    notes
        What was left out and why, and clouds that did not answer.
    """

    def __init__(self, found: SearchResult, limit: int | None) -> None:
        from gpunb.cli.offer_options import offer_rows
        from gpunb.offers import explain

        if limit is not None:
            found.rows = found.rows[:limit]
        super().__init__(Offer(**row) for row in offer_rows(found.rows))
        self.matched = found.matched
        self.notes = explain(found)
        self._found = found

    def _rows(self) -> list[dict[str, Any]]:
        return [asdict(offer) for offer in self]

    def _blocks(self) -> list[Any]:
        from gpunb.cli.offer_options import offers_table, problems

        return [offers_table(self._found)] if self else problems(self._found)


class Sessions(_Shown, list["Session"]):
    """Live sessions; an index may also be a session's name: ``gpunb.sessions()["train"]``."""

    def __init__(self, found: Iterable[Session]) -> None:
        super().__init__(found)

    def __getitem__(self, index: Any) -> Any:
        """Return the session at a place or of a name, or a list for a slice."""
        if not isinstance(index, str):
            return super().__getitem__(index)
        for session in self:
            if index in {session.name, session.id}:
                return session
        names = ", ".join(session.name for session in self) or "none"
        msg = f"no live session is called {index!r}; there are: {names}"
        raise SessionNotFound(msg, hint=typed("ps --all") + " shows those that have ended")

    def _rows(self) -> list[dict[str, Any]]:
        from gpunb.presentation import tables
        from gpunb.python_api.frontend import frontend

        now = time.time()
        with frontend() as context:
            ledger = context.ledger
            rows = [
                tables.session_data(
                    session.record, ledger.cost(session.id), ledger.open_runs(session.id), now
                )
                for session in self
            ]
        plain = []
        for row in rows:
            cost, left = row["cost"], row["left"]
            flat = {key: value for key, value in row.items() if not isinstance(value, (dict, list))}
            plain.append({**flat, "cost_usd": cost["total"], **(left or {})})
        return plain

    def _blocks(self) -> list[Any]:
        from gpunb.presentation.result import Note
        from gpunb.presentation.session_columns import PS_COLUMNS, SessionLine
        from gpunb.presentation.shown import table_of
        from gpunb.python_api.frontend import frontend

        if not self:
            return [Note("no sessions; nothing is rented from this ledger", "dim")]
        with frontend() as context:
            ledger, now = context.ledger, time.time()
            lines = [
                SessionLine(session.record, ledger.cost(session.id), ledger.open_runs(session.id), now)
                for session in self
            ]
            return [table_of(PS_COLUMNS, lines, total=True)]
