"""Background jobs: run in threads of their own, shown to all clients, interruptible as by Ctrl-C."""

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
MOST = 100  # jobs waiting and running
KEPT = 50  # ended jobs that are kept
TELL_S = 0.25  # seconds between two progress events of one job

Work = Callable[["Job"], Mapping[str, Any] | None]


class Job:
    """One background job: a `gpunb.progress.Progress`, and a clock whose sleep can be interrupted.

    An interrupt is raised in its thread as `KeyboardInterrupt` where it reports progress or waits:
    never within a call to a cloud, so that no answer is lost.
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
        """Set what is being waited for now."""
        self.says, self.done, self.total, self.unit = clean(message), None, None, ""
        self.tell()
        self.check()

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Set how far the job is."""
        self.done, self.total, self.unit = done, total, unit
        if time.monotonic() - self._told >= TELL_S:
            self.tell()
        self.check()

    def know(self, session_id: str) -> None:
        """Set the session, once it is known."""
        self.session = session_id
        self.tell()

    # -- the clock

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Sleep, unless interrupted."""
        if threading.get_ident() != self._thread:
            time.sleep(seconds)
            return
        self._break.wait(seconds)
        self.check()

    @property
    def clock(self) -> Clock:
        """The job's clock, for a ledger of its own."""
        return self

    # -- interruption

    def interrupt(self) -> None:
        """Interrupt the job, as by Ctrl-C."""
        if self.over.is_set():
            return
        self._break.set()
        self.state = "cancelling"
        self.tell()

    def check(self) -> None:
        """Raise KeyboardInterrupt in the job's thread, once for each time it was interrupted."""
        if self._break.is_set() and threading.get_ident() == self._thread:
            self._break.clear()
            raise KeyboardInterrupt

    # -- execution

    def run(self, work: Work) -> None:
        """Run the job in this thread."""
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
        except BaseException as err:  # noqa: BLE001 - reported to the clients
            state = "failed"
            self.error = error_body(err)
            if self.error["reason"] == "InternalError":
                log.get(__name__).exception("job %s (%s) failed", self.id, self.kind)
        self.ended = time.time()
        self.state = state
        self.over.set()
        self.tell()

    def tell(self) -> None:
        """Publish the job's state."""
        self._told = time.monotonic()
        self._tell(self)

    def data(self) -> api.Job:
        """Return the job as the browser gets it."""
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
    """All jobs of a server; `tell` is called with each that changed, from any thread."""

    def __init__(self, tell: Callable[[Job], None]) -> None:
        self._tell = tell
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def begin(self, kind: str, session: str | None, title: str, work: Work, *, join: bool = True) -> Job:
        """Start `work`; with `join`, return the unfinished job of this kind for this session instead.

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
        """Return the job with this id.

        Raises
        ------
        UnknownJob
            There is none; it ended long ago, or in another server.
        """
        with self._lock:
            job = self._jobs.get(ident)
        if job is None:
            msg = f"job {ident!r}: is not among this server's; it may have ended before it was started"
            raise UnknownJob(msg, hint="GET sessions shows how the sessions stand")
        return job

    def listed(self) -> list[api.Job]:
        """List all jobs, newest first."""
        with self._lock:
            jobs = list(self._jobs.values())
        return [job.data() for job in reversed(jobs)]
