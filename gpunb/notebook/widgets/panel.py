"""The session panel widget: ``%gpu panel``, or ``gpunb.panel()``."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from gpunb import log
from gpunb.errors import GpunbError, WrongState
from gpunb.hints import written
from gpunb.notebook.widgets import actions, fallback
from gpunb.notebook.widgets.base import Talking, WidgetContext
from gpunb.notebook.widgets.bundle import bundle
from gpunb.notebook.widgets.confirm import Confirmations
from gpunb.notebook.widgets.messages import Names, Number, Rule, Text
from gpunb.notebook.widgets.telemetry import Watchers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.presentation.models import SessionCard, Spent
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["SessionPanel"]

EVERY_S = 1.0
LOOKED_S = 600.0  # seconds that a page counts as open: while a long cell runs, it can't send `look`
RUNS = 8
OPEN_MOST = 16  # sessions whose runs and load are updated
LOG_S = 2.0
LOG_LINES = 2_000
_ARGS: dict[str, Rule] = {
    "action": Text(20),
    "session": Text(64),
    "hours": Number(0.0, 8784.0, optional=True),
    "idle_s": Number(0.0, 31_622_400.0, optional=True),
    "add_usd": Number(0.0, 1e6, optional=True),
    "run": Text(64, optional=True),
}


class SessionPanel(Talking):
    """Widget with state, lease, load, runs, log and transfers of the sessions, and their buttons.

    Parameters
    ----------
    names
        The sessions to show; all live ones, if there are none.
    """

    _esm = bundle("panel_widget.js")
    _css = bundle("panel.css")
    KINDS: ClassVar[Mapping[str, Mapping[str, Rule]]] = {
        "hello": {},
        "look": {"sessions": Names()},
        "confirm": _ARGS,
        "act": {**_ARGS, "token": Text(64)},
        "log": {"session": Text(64), "run": Text(64)},
        "log_closed": {},
    }

    def __init__(self, names: Sequence[str] = (), **more: Any) -> None:
        super().__init__(**more)
        self.names = list(names)
        self._questions = Confirmations()
        self._watchers = Watchers(lambda ident, series: self.tell("telemetry", session=ident, series=series))
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._open: list[str] = []
        self._sent: dict[str, Any] = {}
        self._busy: set[tuple[str, str]] = set()
        self._log_of = ""
        self._refresh = threading.Event()
        self._thread: threading.Thread | None = None

    # -- messages from the page

    def on_hello(self) -> None:
        """Send everything again to a page that has just opened."""
        self._sent.clear()
        self._look(None)

    def on_look(self, sessions: list[str]) -> None:
        """Note that the page is open, and which cards are expanded."""
        self._look(sessions[:OPEN_MOST])

    def on_confirm(self, action: str, session: str, **args: Any) -> dict[str, str]:
        """Send the confirmation question of an action."""
        with WidgetContext() as context:
            found = context.ledger.get(session)
            says = actions.question(context, action, found, args)
        return {"says": says, "token": self._questions.ask(action, {"session": session, **args})}

    def on_act(self, action: str, session: str, token: str, **args: Any) -> None:
        """Carry out a confirmed action; a second Down of an ending session does nothing."""
        self._questions.take(token, action, {"session": session, **args})
        with self._lock:
            if (action, session) in self._busy:
                msg = f"{action} is under way already"
                raise WrongState(msg, hint="its card shows when it has ended")
            self._busy.add((action, session))
        try:
            with WidgetContext(lambda seen: self.tell("says", session=session, text=seen.line())) as context:
                found = context.ledger.get(session)
                message = actions.do(context, action, found, args)
            self.tell("says", session=session, text=message)
        except GpunbError:
            self.tell("says", session=session, text="")
            raise
        finally:
            self._busy.discard((action, session))
            self._refresh.set()

    def on_log(self, session: str, run: str) -> None:
        """Send a run's output until it ends or the page shows something else."""
        self._log_of = run
        from gpunb.output.player import play_history
        from gpunb.services.running import runs as playing
        from gpunb.services.running.log_filter import KeptText

        kept = KeptText(LOG_LINES)
        seen = 0
        with WidgetContext() as context:
            client = context.agent(context.ledger.get(session))
            while self._log_of == run and not self.closed.is_set():
                info = client.run_info(run)
                if info.last > seen or not seen:
                    play_history(client.attach(run, after=seen), kept, info.last)
                    seen = max(info.last, 1)
                    self.tell("log", session=session, run=run, text=kept.text() or "(no output)")
                if info.over:
                    playing.note_end(context, run, info)
                    return
                time.sleep(LOG_S)

    def on_log_closed(self) -> None:
        """Stop sending a log."""
        self._log_of = ""

    # -- messages to the page

    def _look(self, sessions: Sequence[str] | None) -> None:
        with self._lock:
            self._looked_at = time.monotonic()
            if sessions is not None:
                self._open = list(sessions)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="gpunb-panel", daemon=True)
                self._thread.start()
        self._refresh.set()

    def _run(self) -> None:
        """Send changes once a second while a page is open."""
        from gpunb.sessions.ledger.sessions import Ledger

        try:
            with Ledger.open() as ledger:
                while not self.closed.is_set() and time.monotonic() - self._looked_at < LOOKED_S:
                    self._refresh.clear()
                    self._bring(ledger)
                    self._refresh.wait(EVERY_S)
        except GpunbError as err:
            self.answer(None, error={"message": err.message, "hint": written(err.hint or "", "notebook")})
        except Exception:  # noqa: BLE001 - it is logged; the thread must end with its pages
            log.get(__name__).exception("the panel")
        finally:
            self._watchers.watch(())

    def _bring(self, ledger: Ledger) -> None:
        from gpunb.presentation.shapes import run_shape

        shapes = self._shapes(ledger)
        order = [card["id"] for card in shapes]
        known = {card["id"]: card for card in shapes}
        opened = [ident for ident in self._open if ident in known]
        runs, transfers = {}, {}
        for ident in opened:
            kept = [run_shape(note) for note in ledger.runs(ident, RUNS)]
            for one in kept:  # values that change with every second alone are not worth a message
                one["seconds"] = None if one["seconds"] is None else round(one["seconds"] / 5.0) * 5.0
            runs[ident] = kept
            transfers[ident] = [
                {
                    "id": str(at),
                    "title": f"{'to' if one.direction == 'up' else 'from'} the host: {one.what}",
                    "state": one.state,
                    "done": one.bytes,
                    "says": f"{one.files} files" if one.files else "",
                }
                for at, one in enumerate(reversed(ledger.transfers(ident)[-RUNS:]))
            ]
        changed = [card for card in shapes if self._news(card["id"], card)]
        message = {
            "runs": {ident: one for ident, one in runs.items() if self._news(f"runs/{ident}", one)},
            "transfers": {
                ident: one for ident, one in transfers.items() if self._news(f"moved/{ident}", one)
            },
        }
        if changed or any(message.values()) or self._news("order", order):
            self._news("order", order)
            self.tell("sessions", order=order, changed=changed, **message)
        self._watchers.watch(ident for ident in opened if known[ident]["state"] == "ready")

    def _news(self, key: str, value: Any) -> bool:
        """Return whether `value` differs from what was sent last under `key`."""
        if self._sent.get(key) == value:
            return False
        self._sent[key] = value
        return True

    def _shapes(self, ledger: Ledger) -> list[SessionCard]:
        from gpunb.presentation.shapes import session_shapes
        from gpunb.providers import provider_class

        shapes = session_shapes(ledger)
        if self.names:
            shapes = [facts for facts in shapes if facts["name"] in self.names or facts["id"] in self.names]
        out: list[SessionCard] = []
        for facts in shapes:
            exact = facts["cost"].items()
            cost = {name: round(usd, 3) if isinstance(usd, float) else usd for name, usd in exact}
            can = ["down", "extend"]
            with suppress(GpunbError):
                if "stop" in {known.value for known in provider_class(facts["provider"]).capabilities}:
                    can += ["stop", "start"]
            out.append({**facts, "cost": cast("Spent", cost), "can": can})
        return out

    # -- fallback where no widget can be shown

    def _now(self) -> list[SessionCard]:
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            return self._shapes(ledger)

    def html(self) -> str:
        """Return the sessions as an HTML table."""
        return fallback.sessions(self._now()).html()

    def text(self) -> str:
        """Return the sessions as text."""
        return fallback.sessions(self._now()).text()
