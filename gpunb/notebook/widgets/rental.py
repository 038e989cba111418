"""Rental in a background thread of the kernel, whether or not its widget is shown."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import Cancelled, GpunbError, WrongState
from gpunb.hints import typed
from gpunb.notebook.widgets.base import Reporter, WidgetContext, told
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.cli.progress import Shown
    from gpunb.offers import Ranked
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.lifecycle.agreement import Agreement
    from gpunb.sessions.model import Session

__all__ = ["Rental", "agreed_to", "request_for"]

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
    """Build the rent request, with the settings' idle time, budget, Python and saves."""
    from gpunb import settings
    from gpunb.services import renting
    from gpunb.sessions.access import renter

    return renting.request(
        settings.load(),
        name=name,
        hours=hours,
        idle_s=idle_s,
        budget_usd=budget,
        disk_gb=disk_gb,
        renter=" ".join(renter.marks(notebook=True)),
    )


def agreed_to(row: Ranked, request: RentRequest) -> Agreement:
    """Return what a click on `row` agrees to."""
    from gpunb import settings
    from gpunb.services import renting

    return renting.agreement(row, request, tolerance=settings.load().price_tolerance)


class Rental:
    """One rental of one offer, from the click to the ready session.

    Parameters
    ----------
    shown
        Called with what the page shows (a dict as `setProgress` of picker.js takes it), from
        the rental's threads.
    """

    def __init__(self, row: Ranked, request: RentRequest, shown: Callable[[dict[str, Any]], None]) -> None:
        from gpunb.sessions.model import machine

        self.row = row
        self.request = request
        self.session: Session | None = None
        self.error: GpunbError | None = None
        self.over = threading.Event()
        self._title = f"{machine(row.offer.gpu, row.offer.gpus)} on {row.offer.provider}"
        self._shown = shown
        self._known = ""
        self._context: WidgetContext | None = None
        self._cancel = threading.Event()
        self.last: dict[str, Any] = {"title": self._title, "state": "requested", "says": ""}
        self._thread = threading.Thread(target=self._run, name="gpunb-rental", daemon=True)

    def start(self) -> None:
        """Start the rental."""
        self._thread.start()

    def cancel(self) -> None:
        """Cancel as by Ctrl-C: end the rental; `over` is set when that is confirmed, or given up."""
        self._cancel.set()
        reporter = self._context.reporter if self._context is not None else None
        if reporter is not None:
            reporter.cancel()
        threading.Thread(target=self._cancel_silent, name="gpunb-cancel", daemon=True).start()

    def _cancel_silent(self) -> None:
        """Cancel through the ledger, like `gpunb down` elsewhere, if the work reports no progress."""
        context = self._context
        reporter = context.reporter if context is not None else None
        if self.over.wait(CANCEL_S) or context is None or reporter is None or reporter.heard:
            return
        from gpunb.sessions.lifecycle.ending import begin_end

        try:
            if self._known:
                begin_end(context.ledger, self._known, "cancelled in the picker")
        except GpunbError as err:
            log.get(__name__).info("cancel: %s", err)

    def result(self, timeout: float | None = None) -> Session:
        """Wait for the ready session, and return it.

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

    # -- background thread

    def _run(self) -> None:
        context = self._context = WidgetContext(self._see)
        try:
            with context:
                self.session = self._rent(context)
            self._end("ready", f"{self.session.name} is ready: %%gpu at the top of a cell runs it there")
        except GpunbError as err:
            self.error = err
            error = told(err)
            state = "cancelled" if isinstance(err, Cancelled) else "failed"
            self._end(state, ". ".join(error[part] for part in ("message", "bill", "hint") if part in error))
        except BaseException as err:  # noqa: BLE001 - the page must learn of the end, whatever the error
            log.get(__name__).exception("a rental")
            msg = f"unexpected failure: {type(err).__name__}; gpunb's log has the traceback"
            self.error = GpunbError(msg, hint=typed("ps") + " shows what is rented")
            self._end("failed", f"{msg}. %gpu ps shows what is rented")
        finally:
            self.over.set()

    def _rent(self, context: WidgetContext) -> Session:
        from gpunb.services import renting

        def progress() -> Shown:
            shown = context.progress(_TITLE)
            if self._cancel.is_set():  # cancelled before there was anything to interrupt
                context.reporter.cancel()  # type: ignore[union-attr]
            return shown

        way = renting.RentalFrontend(
            ledger=context.ledger,
            provider=context.provider,
            progress=progress,
            say=lambda _: None,
            watch=self._begun,
        )
        agreed = self.request.agreed or agreed_to(self.row, self.request)
        session = renting.rent(way, [self.row], self.request, agreed)
        assert session is not None  # noqa: S101 - no confirmation is asked for at this point
        return session

    def _begun(self, ledger: Ledger) -> None:
        """Find the session in the ledger: the newest there, written a moment ago by this thread."""
        from gpunb.sessions.supervisor import process

        mine = [session for session in ledger.sessions() if session.provider == self.row.offer.provider]
        self._known = max(mine, key=lambda one: one.created).id if mine else ""
        process.ensure(ledger)

    def _see(self, reporter: Reporter) -> None:
        """Show the progress; called by the reporter's own thread, at most ten times a second."""
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
        context = self._context
        if context is None or context.opened is None or not self._known:
            return "requested"
        try:
            return context.opened.get(self._known).state.value
        except GpunbError:
            return "requested"

    def _show(self, progress: dict[str, Any]) -> None:
        self.last = progress
        self._shown(progress)

    def _end(self, state: str, says: str) -> None:
        self._show({"title": self._title, "state": state, "says": says, "over": True})
