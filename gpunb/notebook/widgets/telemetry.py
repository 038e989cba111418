"""Load of the hosts whose cards are open: one watcher thread for each session."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import GpunbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Watchers", "series"]

POINTS = 120
TRY_AGAIN_S = 20.0
_GPUS = 16


def series(samples: Sequence[Any]) -> dict[str, Any]:
    """Convert the agent's samples to lists in percent, oldest first, one for each GPU; None is unknown."""
    kept = [sample for sample in samples if isinstance(sample, dict)][-POINTS:]
    found = kept[-1].get("gpus") if kept else None
    gpus = [one for one in found if isinstance(one, dict)][:_GPUS] if isinstance(found, list) else []
    load: list[list[float | None]] = []
    memory: list[list[float | None]] = []
    for gpu in gpus:
        seen = [_of(sample, gpu.get("i")) for sample in kept]
        load.append([_percent(one.get("util"), 100.0) for one in seen])
        memory.append([_share(one.get("mem")) for one in seen])
    return {"at": [_number(one.get("ts")) for one in kept], "gpu": load, "memory": memory}


def _of(sample: dict[str, Any], index: object) -> dict[str, Any]:
    found = sample.get("gpus")
    gpus = found if isinstance(found, list) else []
    return next((gpu for gpu in gpus if isinstance(gpu, dict) and gpu.get("i") == index), {})


def _number(value: object) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18
    return float(value) if fits else None  # type: ignore[arg-type]


def _percent(value: object, total: float) -> float | None:
    number = _number(value)
    return None if number is None else round(min(100.0, max(0.0, 100.0 * number / total)), 1)


def _share(value: object) -> float | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    total = _number(value[1])
    return _percent(value[0], total) if total and total > 0 else None


class Watchers:
    """Watches the load of given sessions, each in a thread.

    Parameters
    ----------
    heard
        Called with a session's id and its series after each sample.
    """

    def __init__(self, heard: Callable[[str, dict[str, Any]], None]) -> None:
        self._heard = heard
        self._lock = threading.Lock()
        self._ends: dict[str, threading.Event] = {}

    def watch(self, sessions: Iterable[str]) -> None:
        """Watch these sessions and no others."""
        wanted = set(sessions)
        with self._lock:
            for ident in list(self._ends):
                if ident not in wanted:
                    self._ends.pop(ident).set()
            for ident in wanted - set(self._ends):
                end = self._ends[ident] = threading.Event()
                threading.Thread(
                    target=self._run, args=(ident, end), name=f"gpunb-look-{ident}", daemon=True
                ).start()

    def _run(self, ident: str, end: threading.Event) -> None:
        while not end.is_set():
            try:
                self._follow(ident, end)
            except GpunbError as err:
                log.get(__name__).info("the load of %s: %s", ident, err)
            except Exception:  # noqa: BLE001 - a foreign host's figures; logged, and nothing is shown
                log.get(__name__).exception("the load of %s", ident)
                return
            end.wait(TRY_AGAIN_S)

    def _follow(self, ident: str, end: threading.Event) -> None:
        from gpunb.commands.watching.top import Watcher
        from gpunb.sessions.access import host_access
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            session = ledger.get(ident)
        with Watcher(host_access.agent(session)) as watcher:
            self._heard(ident, series(watcher.first()))
            while not end.is_set():
                for samples in watcher.fresh(5.0):
                    if end.is_set():
                        return
                    self._heard(ident, series(samples))
