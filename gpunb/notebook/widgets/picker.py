"""The offer picker widget: ``%gpu rent`` alone, or ``gpunb.pick()``."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from gpunb.errors import AuthFailed, BadInput, GpunbError, WrongState
from gpunb.hints import typed, written
from gpunb.notebook.widgets import fallback
from gpunb.notebook.widgets.base import Talking, WidgetContext
from gpunb.notebook.widgets.bundle import bundle
from gpunb.notebook.widgets.confirm import Confirmations
from gpunb.notebook.widgets.messages import Flag, Number, Rule, Text
from gpunb.notebook.widgets.rental import Rental, agreed_to, request_for
from gpunb.notebook.widgets.searching import Found, Wanted, needs_key, packed, search
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.offers import Ranked
    from gpunb.sessions.model import Session

__all__ = ["OfferPicker"]

FIRST_S = 8.0  # seconds that the cell waits for the first answers, which a saved notebook then shows
HEAR_S = 5.0
PLAIN_PAUSE_S = 0.3  # seconds between parts that are not packed: a Jupyter server drops what comes faster
_TERMS: dict[str, Rule] = {
    "offer": Text(400),
    "hours": Number(0.0, 8784.0),
    "budget": Number(0.0, 1e6, optional=True),
}


class OfferPicker(Talking):
    """Widget to filter, sort and rent offers of all clouds, with the rental's progress.

    Parameters
    ----------
    wanted
        What is searched for.

    Attributes
    ----------
    session : Session or None
        What was rented, as soon as it is ready.
    """

    _esm = bundle("picker_widget.js")
    _css = bundle("picker.css")
    KINDS: ClassVar[Mapping[str, Mapping[str, Rule]]] = {
        "hello": {"zipped": Flag()},
        "search": {"hours": Number(0.0, 8784.0)},
        "confirm": _TERMS,
        "rent": {**_TERMS, "token": Text(64)},
        "cancel": {},
        "login": {"provider": Text(64), "key": Text(4096, secret=True)},
    }

    def __init__(self, wanted: Wanted | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.wanted = wanted or Wanted()
        self._found: Found | None = None
        self._failed: GpunbError | None = None
        self._searched = threading.Event()
        self._looking = threading.Lock()
        self._picked = threading.Condition()
        self._rental: Rental | None = None
        self._questions = Confirmations()
        self._zipped = True
        self._greeted = threading.Event()

    # -- Python interface

    @property
    def session(self) -> Session | None:
        """The rented session, in its present state; None until it is ready."""
        rental = self._rental
        if rental is None or rental.session is None:
            return None
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            return ledger.get(rental.session.id)

    def wait(self, timeout: float | None = None) -> Session:
        """Wait until an offer was picked and its session is ready; return the session.

        Shows the picker if it was not shown. Where this kernel can't hear the page while a cell
        runs (before JupyterLab 4.4 or ipykernel 7), pick first, and wait in the next cell.

        Parameters
        ----------
        timeout
            Seconds; None waits as long as it takes.

        Raises
        ------
        WrongState
            Nothing was picked and a click could not be heard, or it takes longer than `timeout`.
        GpunbError
            Why the rental failed; `Cancelled` if it was cancelled.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if self._rental is None:
            self._wait_for_pick(end)
        rental = self._rental
        if rental is None:
            msg = f"nothing was picked within {timeout:g} s"
            raise WrongState(msg, bill="nothing was rented")
        return rental.result(None if end is None else max(0.0, end - time.monotonic()))

    def _wait_for_pick(self, end: float | None) -> None:
        if not self._greeted.is_set():
            from IPython.display import display

            display(self)
        deaf = time.monotonic() + HEAR_S
        with self._picked:
            while not self._picked.wait_for(lambda: self._rental is not None, 0.2):
                now = time.monotonic()
                if end is not None and now >= end:
                    return
                if now > deaf and not self.heard_beside.is_set():
                    msg = "nothing was picked yet, and this kernel can't hear a click while a cell runs"
                    hint = "click Rent in the picker, then run this cell again"
                    raise WrongState(msg, bill="nothing was rented", hint=hint)

    def ask(self, seconds: float = FIRST_S) -> None:
        """Search, and wait a limited time for the answers; the search goes on in the background.

        Raises
        ------
        GpunbError
            The search was asked for something that can't be.
        """
        threading.Thread(target=self._search, args=(self.wanted,), daemon=True).start()
        if self._searched.wait(seconds) and self._failed is not None:
            raise self._failed

    # -- searching

    def _search(self, wanted: Wanted) -> None:
        """Search the clouds, one search at a time."""
        with self._looking:
            self.tell("busy", text="asking the clouds …")
            try:
                with WidgetContext(lambda reporter: self.tell("busy", text=reporter.line())) as context:
                    self._found = search(context, wanted)
                self._failed = None
            except GpunbError as err:
                self._failed = err
                self.answer(None, error={"message": err.message, "hint": written(err.hint or "", "notebook")})
                self.tell("busy", text="")
            self._searched.set()
        self._show()

    def _show(self) -> None:
        """Send the offers to the page, in parts."""
        found = self._found
        if found is None or not self._greeted.is_set():
            return
        parts = list(packed(found.rows, zipped=self._zipped))
        for at, part in enumerate(parts):
            if at and not self._zipped:
                time.sleep(PLAIN_PAUSE_S)
            last = at == len(parts) - 1
            self.tell(
                "offers",
                [part],
                part=at,
                last=last,
                zipped=self._zipped,
                hours=found.hours,
                disk_gb=found.disk_gb,
                failed=found.failed if last else [],
                facets=found.facets if last else {},
            )

    # -- messages from the page

    def on_hello(self, zipped: bool | None) -> dict[str, Any]:  # noqa: FBT001 - a message's field
        """Send everything known to a page that has just opened."""
        self._zipped = bool(zipped)
        self._greeted.set()
        if self._found is None and not self._looking.locked():
            threading.Thread(target=self._search, args=(self.wanted,), daemon=True).start()
        self._show()
        found, rental = self._found, self._rental
        from gpunb import settings

        return {
            "hours": found.hours if found is not None else self.wanted.hours or settings.load().hours,
            "disk_gb": found.disk_gb if found is not None else settings.load().disk_gb,
            "budget": self.wanted.budget,
            "progress": None if rental is None else rental.last,
        }

    def on_search(self, hours: float) -> None:
        """Search again, for this many hours."""
        self._search(
            Wanted(
                query=self.wanted.query,
                hours=hours,
                budget=self.wanted.budget,
                filters=self.wanted.filters,
            )
        )

    def on_confirm(self, offer: str, hours: float, budget: float | None) -> dict[str, Any]:
        """Send the confirmation question of the rental."""
        from gpunb.services.renting import question

        row = self._row(offer, hours)
        request = request_for(hours, budget, self._disk())
        with WidgetContext() as context:
            if needs_key(context, row.offer.provider):
                msg = f"there is no key for {context.provider(row.offer.provider).title}"
                hint = f"Log in above, or %gpu login {row.offer.provider}"
                raise AuthFailed(msg, provider=row.offer.provider, bill="nothing was rented", hint=hint)
            agreed = agreed_to(row, request)
            asked = question(context.ledger, row, request, agreed, provider=context.provider)
        args = {"offer": offer, "hours": hours, "budget": budget}
        token = self._questions.ask("rent", args, (row, replace(request, agreed=agreed)))
        return {"says": clean(asked.text), "usd": asked.usd, "token": token}

    def on_rent(self, offer: str, hours: float, budget: float | None, token: str) -> None:
        """Rent the confirmed offer."""
        args = {"offer": offer, "hours": hours, "budget": budget}
        row, request = self._questions.take(
            token, "rent", args
        )  # as it was shown, whatever a later search found
        with self._picked:
            if self._rental is not None and not self._rental.over.is_set():
                msg = "a rental is under way already"
                raise WrongState(msg, bill="nothing more was rented", hint="Cancel ends it")
            rental = Rental(row, request, lambda said: self.tell("progress", **said))
            self._rental = rental
            self._picked.notify_all()
        rental.start()

    def on_cancel(self) -> None:
        """End the rental; the progress reports when that is confirmed."""
        rental = self._rental
        if rental is None or rental.over.is_set():
            msg = "there is no rental to cancel"
            raise WrongState(msg, hint=typed("ps") + " shows the sessions, " + typed("down") + " ends one")
        rental.cancel()

    def on_login(self, provider: str, key: str) -> str:
        """Check a cloud's key, store it, and search again."""
        from pydantic import SecretStr

        from gpunb import log
        from gpunb.commands.account import login
        from gpunb.providers import keys, provider_class

        made = provider_class(provider)
        if not made.needs_key:
            msg = f"{made.title} needs no key"
            raise BadInput(msg)
        log.add_secret(key.strip())
        with WidgetContext() as context:
            cloud = login.with_key(context, provider, SecretStr(key.strip()))
            try:
                cloud.check()
            finally:
                cloud.close()
        place = keys.store(provider, key.strip())
        self._search(self.wanted)
        return f"{made.title} takes the key; it is kept in {place}"

    def _disk(self) -> float:
        return self._found.disk_gb if self._found is not None else 0.0

    def _row(self, offer: str, hours: float) -> Ranked:
        """Return the offer with that key, priced for this many hours.

        Raises
        ------
        WrongState
            It is not among those that the last search found.
        """
        found = self._found
        if found is None or offer not in found.ranked:
            msg = "this offer is not in the results of the last search"
            raise WrongState(msg, bill="nothing was rented", hint="Refresh shows what there is now")
        row = found.ranked[offer]
        if hours == found.hours:
            return row
        from gpunb.offers.pricing import Terms
        from gpunb.offers.rank import rank

        (priced,) = rank([row.offer], Terms(hours=hours, disk_gb=found.disk_gb))
        return replace(priced, place=row.place)

    # -- fallback where no widget can be shown

    def html(self) -> str:
        """Return the first offers as an HTML table."""
        return fallback.offers(self._found).html()

    def text(self) -> str:
        """Return the first offers as text."""
        return fallback.offers(self._found).text()
