"""A job on the host: it goes on when this process ends, and is found again by its id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpunb.errors import JobFailed, RunError
from gpunb.hints import typed
from gpunb.python_api.frontend import PythonFrontend, frontend
from gpunb.python_api.waiting import twin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpunb.remote import RunInfo
    from gpunb.services.running.jobs import Prepared, Started

__all__ = ["Job"]

LOOK_S = (0.05, 1.0)  # seconds between two looks at its state: first, and at most


class Job:
    """A job that was started by `Session.run`.

    Attributes
    ----------
    id, name
        Its id (``gpunb logs ID`` in any terminal), and what lists call it.
    """

    def __init__(
        self, session_id: str, started: Started, prepared: Prepared, fetch: Sequence[str] = ()
    ) -> None:
        self.id = started.handle.id
        self.name = started.label
        self._session_id = session_id
        self._where = started.where
        self._result = started.result
        self._prepared = prepared
        self._fetch = tuple(fetch)
        self._brought = False
        self._info: RunInfo | None = None

    def __repr__(self) -> str:
        return f"<gpunb.Job {self.id} ({self.name}): {self._info.state if self._info else 'started'}>"

    @property
    def state(self) -> str:
        """The state now: queued, running, ok, error, cancelled, …."""
        with frontend() as context:
            return self._look(context).state

    @property
    def returncode(self) -> int | None:
        """The exit code; None as long as it runs. What a signal or a lost host ended has -1."""
        with frontend() as context:
            return _code(self._look(context))

    @property
    def notebook(self) -> Path | None:
        """Where `wait` puts a notebook with its outputs; None for another job."""
        return self._prepared.result

    def wait(self, timeout: float | None = None, *, show: bool = False, check: bool = False) -> int:
        """Wait for its end, bring home what was asked for, and return the exit code.

        Ctrl-C ends the waiting and leaves the job going.

        Parameters
        ----------
        timeout
            Seconds; None waits as long as it runs.
        show
            Whether its output is shown as it comes.
        check
            Whether another exit code than 0 raises `JobFailed`.

        Raises
        ------
        TimeoutError
            It still runs.
        SyncError
            What ``fetch`` named could not be brought home; it is still on the host.
        """
        with frontend() as context:
            if show and timeout is None:
                self._follow(context)
            info = self._ended(context, timeout)
            self._bring(context)
        code = _code(info)
        if check and code:
            msg = f"job {self.id} ({self.name}) ended with exit code {code}"
            raise JobFailed(
                msg, exit_code=code if code > 0 else 1, hint=typed("logs", self.id) + " shows all"
            )
        return code if code is not None else -1

    def logs(self, tail: int | None = None) -> str:
        """All that it has printed so far, or the last `tail` lines."""
        from gpunb.output.player import play_history
        from gpunb.services.running import log_filter

        with frontend() as context:
            client = context.agent(context.ledger.get(self._session_id))
            kept = log_filter.KeptText(tail)
            play_history(client.attach(self.id), kept, client.run_info(self.id).last)
        return kept.text()

    def cancel(self) -> None:
        """End it: its whole process tree gets TERM, then KILL. One that has ended stays as it is."""
        from gpunb.services.running import runs

        with frontend() as context:
            client = context.agent(context.ledger.get(self._session_id))
            if not client.run_info(self.id).over:
                self._info = client.cancel(self.id)
                runs.note_end(context, self.id, self._info)

    def _look(self, context: PythonFrontend) -> RunInfo:
        from gpunb.services.running import runs

        if self._info is None or not self._info.over:
            session = context.ledger.get(self._session_id)
            self._info = context.agent(session).run_info(self.id)
            runs.note_end(context, self.id, self._info)
        return self._info

    def _ended(self, context: PythonFrontend, timeout: float | None) -> RunInfo:
        pause, last = LOOK_S
        until = None if timeout is None else time.monotonic() + timeout
        while not (info := self._look(context)).over:
            left = last if until is None else until - time.monotonic()
            if left <= 0:
                msg = f"job {self.id} ({self.name}) still runs after {timeout:g} s"
                raise TimeoutError(msg)
            time.sleep(min(pause, left))
            pause = min(2 * pause, last)
        return info

    def _follow(self, context: PythonFrontend) -> None:
        from gpunb.services.running import runs

        client = context.agent(context.ledger.get(self._session_id))
        try:
            runs.follow(context, client.attach(self.id), context.sink(self.id), interactive=False)
        except RunError:
            if not client.run_info(self.id).over:  # Ctrl-C
                raise KeyboardInterrupt from None

    def _bring(self, context: PythonFrontend) -> None:
        from gpunb.errors import SyncError
        from gpunb.services.running import jobs, notebook_jobs

        if self._brought:
            return
        session = context.ledger.get(self._session_id)
        if self._prepared.result is not None:
            client = context.agent(session)
            notebook_jobs.bring(client, session, self._result, self._prepared.result)
        missing = jobs.bring(context, session, self._where, self._fetch) if self._fetch else 0
        if missing:
            msg = f"{missing} of {', '.join(self._fetch)} could not be brought home from {session.name}"
            raise SyncError(msg, hint="they are still on the host; wait again tries again")
        self._brought = True

    wait_async = twin(wait)
    logs_async = twin(logs)
    cancel_async = twin(cancel)


def _code(info: RunInfo) -> int | None:
    if not info.over:
        return None
    if info.exit_code is not None:
        return info.exit_code
    return 0 if info.state == "ok" else -1
