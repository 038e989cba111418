"""The supervisor in the server's process: starts with the server, is handed over when it ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.errors import GpunbError, LedgerError
from gpunb.server.ledger_watcher import notice
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.supervisor import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from gpunb.providers import Provider
    from gpunb.sessions.supervisor.process import Looked

__all__ = ["Host"]

AGAIN_S = 30.0  # seconds to wait after a ledger that can't be used
QUIET_S = 600.0  # seconds for which the same failure is not reported again
END_S = 15.0


class Host:
    """Keeps one supervisor running for the ledger in use.

    Parameters
    ----------
    provider
        Gives the cloud of a name.
    publish
        Takes events: what was ended, and what failed.
    renew
        Sets the providers up anew, after a key was refused: it may have been replaced.
    """

    def __init__(
        self,
        provider: Callable[[str], Provider],
        publish: Callable[[str, Mapping[str, Any]], None],
        *,
        tick_s: float = process.TICK_S,
        renew: Callable[[], object] = lambda: None,
    ) -> None:
        self.provider = provider
        self.renew = renew
        self.publish = publish
        self.tick_s = tick_s
        self.error: str | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._path: Path | None = None
        self._told: dict[str, float] = {}

    def start(self) -> None:
        """Supervise from now on, or stand by while another process does."""
        self._stop = threading.Event()
        self._path = paths.ledger_file()
        self._thread = threading.Thread(
            target=self._go, args=(self._path, self._stop), name="gpunb-supervisor", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Switch to the other ledger when a simulation was started or ended.

        The sessions of the other ledger can't be ended meanwhile: its clouds are out of reach.
        """
        if self._thread is not None and self._path != paths.ledger_file():
            self._end()
            self.start()

    def stop(self) -> None:
        """Resign; a detached supervisor takes over if sessions are live, and finishes files being saved."""
        if self._thread is None:
            return
        self._end()
        self._thread = None
        if self._path != paths.ledger_file() or not paths.ledger_file().exists():
            return
        try:
            with Ledger.open() as ledger:
                if process.ensure(ledger):
                    log.get(__name__).info("handed the supervision over to a process of its own")
        except GpunbError as err:
            log.get(__name__).error("nothing watches the leases any more: %s", err.message)

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(END_S)

    def _go(self, path: Path, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with Ledger.open(path) as ledger:
                    self.error = None
                    process.run(
                        ledger,
                        self._provider(path),
                        kind="server",
                        tick_s=self.tick_s,
                        stop=stop,
                        forever=True,
                        each=self._looked,
                        renew=lambda _: self.renew(),
                    )
            except LedgerError as err:
                self.error = err.message
                self._trouble(err.message)
            except Exception as err:  # noqa: BLE001 - whatever failed, leases must be enforced again
                self.error = f"{type(err).__name__}: {err}"
                log.get(__name__).exception("the supervisor failed")
                self._trouble(f"the supervisor failed: {self.error}")
            stop.wait(AGAIN_S)

    def _provider(self, path: Path) -> Callable[[str], Provider]:
        """Return the provider of a cloud, while the clouds are those of this ledger."""

        def provider(name: str) -> Provider:
            if paths.ledger_file() != path:
                msg = "a simulation was started or ended; these sessions belong to the other ledger"
                raise LedgerError(msg)
            return self.provider(name)

        return provider

    def _looked(self, looked: Looked) -> None:
        for name, why in looked.ended:
            facts = {
                "run": "its run has ended",
                "deadline": "its time is over",
                "idle": "nothing ran or moved",
                "budget": "its budget is spent",
                "limit": "a cap over all sessions is reached",
            }
            self.publish("notice", notice("warn", f"ending {name}: {facts.get(why, why)}"))
        for name in looked.over:
            self.publish("notice", notice("info", f"{name} is over; its cloud agrees that it is gone"))
        for line in looked.errors:
            self._trouble(line)

    def _trouble(self, line: str) -> None:
        now = time.monotonic()
        self._told = {text: at for text, at in self._told.items() if now - at < QUIET_S}
        if line not in self._told:
            self._told[line] = now
            self.publish("notice", notice("bad", line))
