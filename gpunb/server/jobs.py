"""Work that takes time: run in threads of its own, watched by all, broken off as by Ctrl-C."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import Cancelled
from gpunb.hints import typed
from gpunb.server.failures import Busy, UnknownJob, error_body
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.presentation import api
    from gpunb.sessions.model import Clock

__all__ = ["Job", "Jobs"]

AT_ONCE = 16
MOST = 100  # waiting and at work
KEPT = 50  # that have ended
TELL_S = 0.25  # between two words of one job

Work = Callable[["Job"], Mapping[str, Any] | None]


class Job:
    """One piece of work: a `gpunb.progress.Progress` and a clock whose sleep can be broken off.

    Ctrl-C reaches its thread as `KeyboardInterrupt` where it tells of its progress or waits: never
    within a call to a cloud, so that no answer is lost by it.
    """

    def __init__(self, kind: str, session: str | None, title: str, tell: Callable[[Job], None]) -> None:
        self.id = "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(12))
        self.kind = kind
        self.session = session
        self.title = clean(title)
        self.state = "queued"
        self.done: float | None = None
        self.total: float | None = None
        self.unit = ""
        self.says = ""
        self.error: api.Problem | None = None
        self.result: dict[str, Any] | None = None
        self.started = time.time()
        self.ended: float | None = None
        self.over = threading.Event()
        self._tell = tell
        self._told = 0.0
        self._break = threading.Event()
        self._thread = 0

    # -- progress

    def say(self, message: str) -> None:
        """What is being waited for now."""
        self.says, self.done, self.total, self.unit = clean(message), None, None, ""
        self.tell()
        self.check()

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """How far it is."""
        self.done, self.total, self.unit = done, total, unit
        if time.monotonic() - self._told >= TELL_S:
            self.tell()
        self.check()

    def know(self, session_id: str) -> None:
        """The session is known by now."""
        self.session = session_id
        self.tell()

    # -- the clock

    def time(self) -> float:
        """Unix seconds."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait, unless it is broken off."""
        if threading.get_ident() != self._thread:
            time.sleep(seconds)
            return
        self._break.wait(seconds)
        self.check()

    @property
    def clock(self) -> Clock:
        """For a ledger of its own."""
        return self

    # -- breaking off

    def interrupt(self) -> None:
        """Ctrl-C."""
        if self.over.is_set():
            return
        self._break.set()
        self.state = "cancelling"
        self.tell()

    def check(self) -> None:
        """Raise KeyboardInterrupt in the job's thread, once for each time it was broken off."""
        if self._break.is_set() and threading.get_ident() == self._thread:
            self._break.clear()
            raise KeyboardInterrupt

    # -- life

    def run(self, work: Work) -> None:
        """Do it here."""
        self._thread = threading.get_ident()
        state = "done"
        try:
            self.check()
            if self.state == "queued":
                self.state = "running"
            self.tell()
            found = work(self)
            self.result = None if found is None else dict(found)
        except (Cancelled, KeyboardInterrupt) as err:
            state = "cancelled"
            if isinstance(err, KeyboardInterrupt):
                err = Cancelled("broken off", hint=typed("ps") + " shows how it stands")
            self.error = error_body(err)
        except BaseException as err:  # noqa: BLE001 - told to whoever watches
            state = "failed"
            self.error = error_body(err)
            if self.error["reason"] == "InternalError":
                log.get(__name__).exception("job %s (%s) failed", self.id, self.kind)
        self.ended = time.time()
        self.state = state
        self.over.set()
        self.tell()

    def tell(self) -> None:
        """Tell all how it stands."""
        self._told = time.monotonic()
        self._tell(self)

    def data(self) -> api.Job:
        """As the browser gets it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "session": self.session,
            "state": self.state,
            "title": self.title,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "says": self.says,
            "error": self.error,
            "result": self.result,
            "started": self.started,
            "ended": self.ended,
        }


class Jobs:
    """All jobs of a server. `tell` is called with each that changed, from any thread."""

    def __init__(self, tell: Callable[[Job], None]) -> None:
        self._tell = tell
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def begin(self, kind: str, session: str | None, title: str, work: Work, *, join: bool = True) -> Job:
        """Begin `work`; with `join`, a job of this kind for this session that goes on is given instead.

        Raises
        ------
        Busy
            Too many wait.
        """
        with self._lock:
            going = [one for one in self._jobs.values() if not one.over.is_set()]
            if join and session is not None:
                for one in going:
                    if one.kind == kind and one.session == session:
                        return one
            if len(going) >= MOST:
                msg = f"{len(going)} jobs run or wait already"
                raise Busy(msg, bill="nothing was changed", hint="wait until some have ended")
            job = Job(kind, session, title, self._tell)
            self._jobs[job.id] = job
            ended = [one.id for one in self._jobs.values() if one.over.is_set()]
            for ident in ended[: max(0, len(ended) - KEPT)]:
                del self._jobs[ident]
        threading.Thread(target=self._run, args=(job, work), name=f"gpunb-job-{kind}", daemon=True).start()
        return job

    def _run(self, job: Job, work: Work) -> None:
        with self._slots:
            job.run(work)

    def get(self, ident: str) -> Job:
        """The job called so.

        Raises
        ------
        UnknownJob
            There is none; it ended long ago, or in another server.
        """
        with self._lock:
            found = self._jobs.get(ident)
        if found is None:
            msg = f"job {ident!r}: is not among this server's; it may have ended before it was started"
            raise UnknownJob(msg, hint="GET sessions shows how the sessions stand")
        return found

    def listed(self) -> list[api.Job]:
        """All, newest first."""
        with self._lock:
            found = list(self._jobs.values())
        return [job.data() for job in reversed(found)]
