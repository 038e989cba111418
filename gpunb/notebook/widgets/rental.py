"""A rental that goes on in a thread of the kernel while its widget, or nobody, looks."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import Cancelled, GpunbError, WrongState
from gpunb.notebook.widgets.base import Door, Reporter, told
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.offers import Ranked
    from gpunb.sessions.ledger import Ledger
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.model import Session

__all__ = ["Rental", "request_for", "sentence"]

CANCEL_S = 2.0
_TITLE = "rent"


def request_for(
    hours: float,
    budget: float | None,
    disk_gb: float,
    *,
    idle_s: float | None = None,
    name: str | None = None,
) -> RentRequest:
    """What to ask for, with the settings' idle time, budget, Python and saves."""
    from gpunb import settings
    from gpunb.sessions import renter
    from gpunb.sessions.lifecycle import RentRequest

    found = settings.load()
    return RentRequest(
        name=name,
        hours=hours,
        idle_s=found.idle if idle_s is None else idle_s,
        budget_usd=found.budget if budget is None else budget,
        budget_most=found.budget_most,
        disk_gb=disk_gb,
        python=found.python or "",
        save=list(found.save),
        renter=" ".join(renter.marks(notebook=True)),
    )


def sentence(row: Ranked, request: RentRequest) -> str:
    """The question before the rental: what, where, and all that it can cost."""
    from gpunb.commands.views import machine

    offer = row.offer
    where = offer.region or offer.country
    place = f"{offer.provider} ({where})" if where and where != offer.provider else offer.provider
    total = money_text(row.total)
    hours = duration_text((request.hours or 0) * 3600)
    ends = [f"after {hours}"]
    if request.idle_s is not None and math.isfinite(request.idle_s):
        ends.append(f"{duration_text(request.idle_s)} without work")
    if request.budget_usd is not None and math.isfinite(request.budget_usd):
        ends.append(f"at {money_text(request.budget_usd)}")
    risk = "; the cloud may take it back before (spot)" if offer.rental == "spot" else ""
    return (
        f"Rent {machine(offer.gpu, offer.gpus)} on {place}: {total} for {hours} "
        f"({price_text(row.hourly)} an hour with {request.disk_gb:g} GB of disk). "
        f"It ends by itself {' or '.join(ends)}{risk}."
    )


class Rental:
    """One rental of one offer, from the click on.

    Parameters
    ----------
    shown
        Called with what the page shows (a dict as `setProgress` of picker.js takes it), from
        the rental's threads.
    """

    def __init__(self, row: Ranked, request: RentRequest, shown: Callable[[dict[str, Any]], None]) -> None:
        from gpunb.commands.views import machine

        self.row = row
        self.request = request
        self.session: Session | None = None
        self.error: GpunbError | None = None
        self.over = threading.Event()
        self._title = f"{machine(row.offer.gpu, row.offer.gpus)} on {row.offer.provider}"
        self._shown = shown
        self._known = ""
        self._door: Door | None = None
        self._cancel = threading.Event()
        self.last: dict[str, Any] = {"title": self._title, "state": "requested", "says": ""}
        self._thread = threading.Thread(target=self._run, name="gpunb-rental", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """As Ctrl-C: end what was rented; `over` is set when that is confirmed, or given up."""
        self._cancel.set()
        reporter = self._door.reporter if self._door is not None else None
        if reporter is not None:
            reporter.cancel()
        threading.Thread(target=self._cancel_silent, name="gpunb-cancel", daemon=True).start()

    def _cancel_silent(self) -> None:
        """Work that does not say where it is looks at the ledger: as `gpunb down` from elsewhere."""
        door = self._door
        reporter = door.reporter if door is not None else None
        if self.over.wait(CANCEL_S) or door is None or reporter is None or reporter.heard:
            return
        from gpunb.sessions.ending import begin_end

        try:
            if self._known:
                begin_end(door.ledger, self._known, "cancelled in the picker")
        except GpunbError as err:
            log.get(__name__).info("cancel: %s", err)

    def result(self, timeout: float | None = None) -> Session:
        """The ready session, waiting for it.

        Raises
        ------
        GpunbError
            Why it did not come up; `Cancelled` after Cancel.
        WrongState
            It is not there within `timeout` seconds; it goes on.
        """
        if not self.over.wait(timeout):
            msg = f"{self._title} is not ready yet: {self.last.get('says') or self.last['state']}"
            raise WrongState(msg, bill="it is billed, and the rental goes on", hint="wait again")
        if self.error is not None:
            raise self.error
        assert self.session is not None  # noqa: S101 - it is over, and without an error
        return self.session

    # -- the thread

    def _run(self) -> None:
        door = self._door = Door(self._see)
        try:
            with door:
                self.session = self._rent(door)
            self._end("ready", f"{self.session.name} is ready: %%gpu at the top of a cell runs it there")
        except GpunbError as err:
            self.error = err
            said = told(err)
            state = "cancelled" if isinstance(err, Cancelled) else "failed"
            self._end(state, ". ".join(said[part] for part in ("message", "bill", "hint") if part in said))
        except BaseException as err:  # noqa: BLE001 - the page must hear of the end, whatever it was
            log.get(__name__).exception("a rental")
            msg = f"unexpected failure: {type(err).__name__}; gpunb's log has the traceback"
            self.error = GpunbError(msg, hint="%gpu ps shows what is rented")
            self._end("failed", f"{msg}. %gpu ps shows what is rented")
        finally:
            self.over.set()

    def _rent(self, door: Door) -> Session:
        from gpunb.sessions import kernelspecs, lifecycle

        provider = door.provider(self.row.offer.provider)
        with door.progress(_TITLE) as progress:
            if self._cancel.is_set():  # before there was anything to interrupt
                door.reporter.cancel()  # type: ignore[union-attr]
            session = lifecycle.rent(
                door.ledger,
                provider,
                [self.row.offer],
                self.request,
                progress=progress,
                watch=self._begun,
            )
        kernelspecs.sweep(door.ledger.sessions())
        kernelspecs.install(session)
        return session

    def _begun(self, ledger: Ledger) -> None:
        """The session is in the ledger: the newest there, written a moment ago by this thread."""
        from gpunb.sessions import supervisor

        mine = [one for one in ledger.sessions() if one.provider == self.row.offer.provider]
        self._known = max(mine, key=lambda one: one.created).id if mine else ""
        supervisor.ensure(ledger)

    def _see(self, reporter: Reporter) -> None:
        """Called by the reporter's own thread, at most ten times a second."""
        state = self._state()
        self._show(
            {
                "title": self._title,
                "state": state,
                "says": f"{reporter.message} ({duration_text(reporter.seconds)})",
                "done": reporter.done,
                "total": reporter.total,
            }
        )

    def _state(self) -> str:
        door = self._door
        if door is None or door.opened is None or not self._known:
            return "requested"
        try:
            return door.opened.get(self._known).state.value
        except GpunbError:
            return "requested"

    def _show(self, progress: dict[str, Any]) -> None:
        self.last = progress
        self._shown(progress)

    def _end(self, state: str, says: str) -> None:
        self._show({"title": self._title, "state": state, "says": says, "over": True})
