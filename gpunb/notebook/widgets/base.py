"""Base of gpunb's widgets: validated messages, answers, a static HTML picture.

A widget's synchronised state holds its code only: offers and sessions are sent as messages when
a page asks, so that a saved notebook holds none of them, and two pages show the same. A saved
notebook shows the static HTML that is stored beside the view.
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

__all__ = ["Reporter", "Talking", "WidgetContext"]


def told(err: BaseException) -> dict[str, str]:
    """Return an error as the page shows it."""
    if isinstance(err, GpunbError):
        parts = {"message": err.message, "bill": err.bill, "hint": err.hint and written(err.hint, "notebook")}
        return {name: clean(text) for name, text in parts.items() if text}
    return {"message": clean(f"unexpected failure: {type(err).__name__}; gpunb's log has the traceback")}


class Talking(anywidget.AnyWidget):
    """Base widget that answers its page's messages, each in a thread of its own.

    A subclass names the messages in `KINDS` and has a method ``on_KIND`` for each. What the
    method returns, or raises, is the answer to a message with an ``id``.
    """

    KINDS: ClassVar[Mapping[str, Mapping[str, messages.Rule]]] = {}

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.closed = threading.Event()
        # whether this kernel receives a page's messages while a cell runs (comm messages over subshells)
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
            answer = getattr(self, f"on_{kind}")(**fields)
        except GpunbError as err:
            self.answer(ident, error=told(err))
        except Exception as err:  # noqa: BLE001 - the page must be told, whatever it is
            log.get(__name__).exception("a widget's %s", kind)
            self.answer(ident, error=told(err))
        else:
            self.answer(ident, said=answer)

    def answer(self, ident: int | None, *, said: Any = None, error: dict[str, str] | None = None) -> None:
        """Answer message `ident`; an error is shown even without one."""
        if ident is not None:
            self.tell("answer", id=ident, said=said, error=error)
        elif error is not None:
            self.tell("error", **error)

    def tell(self, kind: str, buffers: list[bytes] | None = None, /, **fields: Any) -> None:
        """Send a message to all pages that show this widget."""
        if self.closed.is_set():
            return
        # a kernel that is ending has no connection any more
        with contextlib.suppress(RuntimeError, OSError, AttributeError):
            self.send({"kind": kind, **fields}, buffers)

    def close(self) -> None:
        """Stop the threads that serve the page; a rental goes on."""
        self.closed.set()
        super().close()

    # -- fallback where no widget can be shown

    def html(self) -> str:
        """Return the static picture as escaped HTML."""
        raise NotImplementedError

    def text(self) -> str:
        """Return the static picture as text for a console."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**data, "text/plain": self.text(), "text/html": self.html()}, metadata


class Reporter(Shown):
    """Progress that is shown in a widget, and that another thread can interrupt.

    Work that can be cancelled by Ctrl-C is interrupted by `cancel` when it next reports progress.
    """

    def __init__(self, title: str, seen: Callable[[Reporter], None]) -> None:
        super().__init__(title)
        self.heard = False  # whether the work was interrupted
        self._seen = seen
        self._cancel = threading.Event()

    def cancel(self) -> None:
        """Interrupt the work once, as Ctrl-C does."""
        self._cancel.set()

    def say(self, message: str) -> None:
        """Set what is being waited for now."""
        super().say(message)
        self._check()

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Set how far the work is."""
        super().advance(done, total, unit)
        self._check()

    def _check(self) -> None:
        if self._cancel.is_set():
            self._cancel.clear()
            self.heard = True
            raise KeyboardInterrupt

    def draw(self, *, final: bool) -> None:
        """Show the progress in the widget."""
        if not final:
            self._seen(self)


class WidgetContext(Context):
    """Context of work that a page asked for: nothing is displayed in a cell."""

    def __init__(self, seen: Callable[[Reporter], None] | None = None) -> None:
        super().__init__("notebook")
        self._seen = seen or (lambda _: None)
        self.reporter: Reporter | None = None

    def progress(self, title: str) -> Shown:
        """Return the widget's progress."""
        self.reporter = Reporter(title, self._seen)
        return self.reporter

    def tell(self, *blocks: Any) -> None:
        """Do nothing: the widget shows the message."""
