"""The context of a verb in the server: no terminal, progress goes to a job."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gpunb.cli.context import Context
from gpunb.cli.progress import Shown
from gpunb.errors import SessionNotFound
from gpunb.progress import SILENT
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from gpunb.progress import Progress
    from gpunb.providers import Provider
    from gpunb.server.jobs import Job
    from gpunb.sessions.model import Session
    from gpunb.settings import Settings

__all__ = ["Clouds", "JobLedger", "WorkContext", "exactly"]


class Clouds:
    """The providers as they are set up now; replaced when settings or keys have changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._settings: Settings | None = None
        self._retired: list[Context] = []

    def provider(self, name: str) -> Provider:
        """Return the provider called `name`."""
        from gpunb import settings

        now = settings.load()
        with self._lock:
            if self._context is None or self._settings is not now:
                self._retire()
                self._context, self._settings = Context("terminal"), now
            return self._context.provider(name)

    def renew(self) -> None:
        """Make new providers for later calls, since a key has changed."""
        with self._lock:
            self._retire()

    def close(self) -> None:
        """Close every provider that was ever made."""
        with self._lock:
            self._retire()
            for context in self._retired:
                context.close()
            self._retired.clear()

    def _retire(self) -> None:
        # other threads may be in the middle of a call: closed when the server ends
        if self._context is not None:
            self._retired.append(self._context)
            self._context = None


class _Shown(Shown):
    """Forwards progress to the job, and draws nothing."""

    def __init__(self, title: str, inner: Progress) -> None:
        super().__init__(title)
        self.inner = inner

    def say(self, message: str) -> None:
        self.inner.say(message)

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        self.inner.advance(done, total, unit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class WorkContext(Context):
    """The context of one job; the ledger and the clouds are closed by their owners."""

    def __init__(
        self, ledger: Ledger, provider: Callable[[str], Provider], progress: Progress = SILENT
    ) -> None:
        super().__init__("terminal")
        self._ledger = ledger
        self._provider = provider
        self._progress = progress

    def provider(self, name: str) -> Provider:
        """Return the provider called `name`."""
        self._same_world()
        return self._provider(name)

    def progress(self, title: str) -> Shown:
        """The job's progress."""
        return _Shown(title, self._progress)

    @property
    def interactive(self) -> bool:
        """False: there is no terminal."""
        return False

    @property
    def can_ask(self) -> bool:
        """False: the user has confirmed in the browser, by a token."""
        return False

    def tell(self, *blocks: Any) -> None:
        """Forward messages to the job's progress."""
        for block in blocks:
            text = getattr(block, "text", "")
            if text:
                self._progress.say(text)

    def close(self) -> None:
        """Do nothing: the context owns no resources."""


class JobLedger(Ledger):
    """A job's own ledger: its clock can be interrupted, and the job learns which session a rent makes."""

    job: Job | None = None

    @classmethod
    def of(cls, job: Job) -> JobLedger:
        """Open the ledger that is in use now."""
        from gpunb import paths

        ledger = cls(paths.ledger_file(), clock=job.clock)
        ledger.job = job
        return ledger

    def add_session(self, session: Session, **more: Any) -> Session:
        """Add the session, and set it on the job."""
        made = super().add_session(session, **more)
        if self.job is not None:
            self.job.know(made.id)
        return made


def exactly(ledger: Ledger, name: str) -> Session:
    """Return the session with this id or name, live or ended.

    Raises
    ------
    SessionNotFound
        There is none.
    """
    try:
        return ledger.find(name)
    except SessionNotFound as err:
        err.hint = "GET sessions lists them"
        raise
