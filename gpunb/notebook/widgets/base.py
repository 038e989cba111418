"""What gpunb's widgets share: checked messages, answers, a static picture.

A widget keeps nothing in its synchronised state but its code: offers and sessions are sent as
messages when a page asks, so that a saved notebook holds none of them, and two pages show the
same. What a saved notebook shows is the HTML that stands beside the view.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import anywidget

from gpunb import log
from gpunb.cli.context import Context
from gpunb.cli.progress import Shown
from gpunb.errors import GpunbError
from gpunb.hints import written
from gpunb.notebook.widgets import messages
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Door", "Reporter", "Talking"]


def told(err: BaseException) -> dict[str, str]:
    """An error as the page shows it."""
    if isinstance(err, GpunbError):
        parts = {"message": err.message, "bill": err.bill, "hint": err.hint and written(err.hint, "notebook")}
        return {name: clean(text) for name, text in parts.items() if text}
    return {"message": clean(f"unexpected failure: {type(err).__name__}; gpunb's log has the traceback")}


class Talking(anywidget.AnyWidget):
    """A widget that answers its page's messages, each in a thread of its own.

    A subclass names the messages in `KINDS` and has a method ``on_KIND`` for each. What the
    method returns, or raises, is the answer to a message with an ``id``.
    """

    KINDS: ClassVar[Mapping[str, Mapping[str, messages.Rule]]] = {}

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.closed = threading.Event()
        # whether this kernel hears a page while a cell runs (comm messages over subshells)
        self.heard_beside = threading.Event()
        self.on_msg(self._hear)

    def _hear(self, _: object, content: object, buffers: object) -> None:  # noqa: ARG002
        if threading.current_thread() is not threading.main_thread():
            self.heard_beside.set()
        ident = content.get("id") if isinstance(content, dict) else None
        ident = ident if isinstance(ident, int) else None
        try:
            kind, fields = messages.read(content, self.KINDS)
        except GpunbError as err:
            self.answer(ident, error=told(err))
            return
        threading.Thread(
            target=self._work, args=(kind, fields, ident), name=f"gpunb-widget-{kind}", daemon=True
        ).start()

    def _work(self, kind: str, fields: dict[str, Any], ident: int | None) -> None:
        try:
            said = getattr(self, f"on_{kind}")(**fields)
        except GpunbError as err:
            self.answer(ident, error=told(err))
        except Exception as err:  # noqa: BLE001 - the page must hear of it, whatever it is
            log.get(__name__).exception("a widget's %s", kind)
            self.answer(ident, error=told(err))
        else:
            self.answer(ident, said=said)

    def answer(self, ident: int | None, *, said: Any = None, error: dict[str, str] | None = None) -> None:
        """Answer message `ident`; an error that answers none is shown anyway."""
        if ident is not None:
            self.tell("answer", id=ident, said=said, error=error)
        elif error is not None:
            self.tell("error", **error)

    def tell(self, kind: str, buffers: list[bytes] | None = None, /, **fields: Any) -> None:
        """Send a message to all pages that show this."""
        if self.closed.is_set():
            return
        # a kernel that is ending has no line any more
        with contextlib.suppress(RuntimeError, OSError, AttributeError):
            self.send({"kind": kind, **fields}, buffers)

    def close(self) -> None:
        """End what runs for the page; a rental goes on."""
        self.closed.set()
        super().close()

    # -- what is shown where no widget can be

    def html(self) -> str:
        """The static picture, escaped."""
        raise NotImplementedError

    def text(self) -> str:
        """The same for a console."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**data, "text/plain": self.text(), "text/html": self.html()}, metadata


class Reporter(Shown):
    """Progress that a widget shows instead of a display; can be interrupted from another thread.

    Work that can be cancelled by Ctrl-C hears of `cancel` the next time it says where it is.
    """

    def __init__(self, title: str, seen: Callable[[Reporter], None]) -> None:
        super().__init__(title)
        self.heard = False  # whether the work was interrupted
        self._seen = seen
        self._cancel = threading.Event()

    def cancel(self) -> None:
        """As Ctrl-C, once."""
        self._cancel.set()

    def say(self, message: str) -> None:
        """What is being waited for now."""
        super().say(message)
        self._check()

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """How far it is."""
        super().advance(done, total, unit)
        self._check()

    def _check(self) -> None:
        if self._cancel.is_set():
            self._cancel.clear()
            self.heard = True
            raise KeyboardInterrupt

    def draw(self, *, final: bool) -> None:
        """Let the widget show it."""
        if not final:
            self._seen(self)


class Door(Context):
    """The context of work that a page asked for: nothing is displayed in a cell."""

    def __init__(self, seen: Callable[[Reporter], None] | None = None) -> None:
        super().__init__("notebook")
        self._seen = seen or (lambda _: None)
        self.reporter: Reporter | None = None

    def progress(self, title: str) -> Shown:
        """Progress for the widget."""
        self.reporter = Reporter(title, self._seen)
        return self.reporter

    def tell(self, *blocks: Any) -> None:
        """Nothing: the widget says it."""
