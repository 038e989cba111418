"""Progress displays: a spinner, plain lines, or one updating notebook display.

At most ten updates a second, whatever the layer below reports.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any

from gpunb.text import clean
from gpunb.units import bytes_text, duration_text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.status import Status
    from typing_extensions import Self

__all__ = ["Lines", "NotebookDisplay", "Shown", "Spinner", "shown"]

EVERY_S = 0.1
PACE_AFTER_S = 1.5


class Shown:
    """Base class of shown progress; use it as a context manager.

    The layers below only store their reports here. A thread draws them, so that a
    burst of reports costs nothing and the last one before a long wait is seen.
    """

    clock_s: float | None = None  # redraw this often even if nothing was reported

    def __init__(self, title: str) -> None:
        self.title = clean(title)
        self.message = ""
        self.done: float | None = None
        self.total: float | None = None
        self.unit = ""
        self.failed = False
        self._start = time.monotonic()
        self._dirty = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, message: str) -> None:
        """Set the message: what is being waited for."""
        with self._lock:
            if message != self.message:
                self.message = clean(message)
                self.done = self.total = None
                self._dirty = True

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Set how far the work is."""
        with self._lock:
            self.done, self.total, self.unit = done, total, unit
            self._dirty = True

    def line(self) -> str:
        """Format title, message and figures in one line."""
        parts = [part for part in (self.title, self.message) if part]
        if self.done is not None:
            parts.append(self._figures())
        return ": ".join(parts)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._start

    def draw(self, *, final: bool) -> None:
        """Draw the present state."""

    def __enter__(self) -> Self:
        # output of a thread finds its cell through the context it was started in
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._tick,), daemon=True, name="gpunb-progress"
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.failed = kind is not None
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.draw(final=True)

    def _tick(self) -> None:
        drawn = self._start
        while not self._over.wait(EVERY_S):
            late = self.clock_s is not None and time.monotonic() - drawn >= self.clock_s
            with self._lock:
                due, self._dirty = self._dirty or late, False
            if due:
                drawn = time.monotonic()
                self.draw(final=False)

    def _figures(self) -> str:
        done = self.done or 0.0
        if self.unit == "B":
            both = [bytes_text(done)] + ([bytes_text(self.total)] if self.total else [])
        else:
            both = [f"{done:g}"] + ([f"{self.total:g}"] if self.total else [])
        share = f" ({100 * min(done / self.total, 1.0):.0f} %)" if self.total else ""
        unit = f" {self.unit}" if self.unit not in ("", "B") else ""
        return " of ".join(both) + unit + share


class Lines(Shown):
    """Progress for a pipe or a log file: each new message once, on stderr."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._told = ""

    def draw(self, *, final: bool) -> None:
        """Print the message if it is a new one."""
        line = ": ".join(part for part in (self.title, self.message) if part)
        if line != self._told and not (final and not self.message):
            self._told = line
            print(line, file=sys.stderr, flush=True)  # noqa: T201


class Spinner(Shown):
    """Progress for a terminal: one line on stderr that is removed when the work is over."""

    clock_s = 1.0

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._status: Status | None = None

    def draw(self, *, final: bool) -> None:
        """Update the spinner's text."""
        from rich.console import Console
        from rich.markup import escape as escape_markup

        if final:
            if self._status is not None:
                self._status.stop()
            return
        text = f"{escape_markup(self.line())} [bright_black]{duration_text(self.seconds)}[/]"
        if self._status is None:
            self._status = Console(stderr=True).status(text, refresh_per_second=8)
            self._status.start()
        self._status.update(text)


class NotebookDisplay(Shown):
    """Progress for a notebook: one display that is updated in place; no widget.

    A widget's state is lost at a reload, a display's last content is not; and a frontend that can't
    talk to a busy kernel still shows it.
    """

    clock_s = 1.0

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._handle: Any = None
        self._began: tuple[float, float] | None = None  # when this message's figures began, and with what

    def say(self, message: str) -> None:
        """Set the message: what is being waited for."""
        if message != self.message:
            self._began = None
        super().say(message)

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Set how far the work is."""
        if self._began is None or done < self._began[1]:
            self._began = (time.monotonic(), done)
        super().advance(done, total, unit)

    def _pace(self) -> str:
        """The rate and the remaining time, as far as they can be estimated."""
        if self._began is None or self.done is None or self.unit == "s":
            return ""
        seconds, moved = time.monotonic() - self._began[0], self.done - self._began[1]
        if seconds < PACE_AFTER_S or moved <= 0:
            return ""
        rate = moved / seconds
        shown = f"{bytes_text(rate)}/s" if self.unit == "B" else f"{rate:.3g} {self.unit or 'items'}/s"
        if not self.total or self.done >= self.total:
            return shown
        return f"{shown}, {duration_text((self.total - self.done) / rate)} left"

    def draw(self, *, final: bool) -> None:
        """Show or update the display; cleared after success, kept after a failure."""
        from IPython.display import display

        if final and self._handle is None:
            return
        if final and not self.failed:
            bundle = {"text/plain": "", "text/html": ""}
        else:
            bundle = {"text/plain": self.line(), "text/html": self._html()}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _html(self) -> str:
        bar = ""
        if self.done is not None and self.total:
            share = 100 * min(self.done / self.total, 1.0)
            bar = (
                f'<div role="progressbar" aria-valuenow="{share:.0f}" aria-label="{escape(self.title)}" '
                'style="height:3px;background:var(--jp-border-color2,#ccc);max-width:24em">'
                f'<div style="height:3px;width:{share:.1f}%;background:var(--jp-brand-color1,#1976d2)">'
                "</div></div>"
            )
        clock = f'<span style="opacity:.65"> {escape(duration_text(self.seconds))}</span>'
        pace = f'<span style="opacity:.65"> · {escape(self._pace())}</span>' if self._pace() else ""
        return f"<div>{escape(self.line())}{clock}{pace}</div>{bar}"


def shown(title: str, frontend: str) -> Shown:
    """The progress display for the frontend and the stream."""
    if frontend == "notebook":
        return NotebookDisplay(title)
    return Spinner(title) if sys.stderr.isatty() else Lines(title)
