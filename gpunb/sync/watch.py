"""``--watch``: sync after each local change, once changes have settled.

Only folders that go are watched: what a rule leaves out takes none of the
system's watches and starts no sync.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpunb.errors import SyncError
from gpunb.sync.local.scan import folders
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.rules import PART, Rules

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

__all__ = ["Wake", "changes"]

REST_MS = 300  # changes closer together than this count as one
WAKE_MS = 500
GONE_S = 0.5
_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")


class Wake(NamedTuple):
    """A reason to sync: the number of changed paths, or another reason; 0 when the watch begins."""

    changed: int
    note: str = ""


def changes(
    source: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[Wake]:
    """Yield a `Wake` when the watch has begun, and each time that changes have settled.

    What changes while the caller syncs wakes it again. A source that is moved
    away is waited for, and reported when it is back. Ends when `stop` is set.

    Raises
    ------
    SyncError
        The system lets a user watch fewer folders than go.
    """
    watch = _Watch(source, include, exclude, follow=follow)
    try:
        watch.begin()
        yield Wake(0)
        while True:
            found = watch.wait(stop)
            if found is None:
                return
            if found:
                yield Wake(found)
            elif watch.is_gone():
                while watch.is_gone(at_all=True):
                    if stop is not None and stop.is_set():
                        return
                    time.sleep(GONE_S)
                watch.begin()
                yield Wake(1, f"{source} was moved away and is back")
    finally:
        watch.end()


class _Watch:
    """The file watch of one source."""

    def __init__(self, source: Path, include: Sequence[str], exclude: Sequence[str], *, follow: bool) -> None:
        self._source, self._patterns = source, (include, exclude)
        self._follow = follow
        self._places: list[tuple[str, int, int]] = []
        self._notify: Any = None

    def begin(self) -> None:
        """Watch all folders that go now, including those that are new since the last call."""
        self._root = self._source.resolve()
        self._single = self._root.is_file()
        top = self._root.parent if self._single else self._root
        self._rules = Rules(top, include=self._patterns[0], exclude=self._patterns[1])
        self._top = str(top)
        for _ in range(5):  # a folder may be created meanwhile
            places = self._folders()
            if places == self._places and self._notify is not None:
                break
            before, self._notify = self._notify, self._open([path for path, _, _ in places])
            self._places = places
            if before is not None:
                before.close()
        self._identity = self._now()

    def end(self) -> None:
        """Stop watching."""
        if self._notify is not None:
            self._notify.close()

    def wait(self, stop: threading.Event | None) -> int | None:
        """Return the number of changed paths; 0 after half a second without any, None when `stop` is set."""
        raw = self._notify.watch(10 * REST_MS, REST_MS, WAKE_MS, stop)
        if raw == "stop":
            return None
        if raw == "signal":
            raise KeyboardInterrupt
        if raw == "timeout" or self.is_gone():
            return 0
        result = sum(self._counts(path) for _, path in raw)
        if result and not self._single:
            self.begin()  # a folder may be new, an ignore file another one
        return result

    def is_gone(self, *, at_all: bool = False) -> bool:
        """Whether the source was moved away or created anew."""
        now = self._now()
        return now is None if at_all else not self._single and now != self._identity

    def _now(self) -> tuple[int, int] | None:
        try:
            facts = self._source.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def _folders(self) -> list[tuple[str, int, int]]:
        """The folders to watch, by identity: one that was created anew under its name counts as another."""
        top = Path(self._top)
        listed = folders(top, self._rules, Tree(), follow=self._follow)
        places = []
        for folder in [""] if self._single else sorted(folder for folder, _ in listed):
            path = f"{self._top}/{folder}" if folder else self._top
            with contextlib.suppress(OSError):
                facts = Path(path).stat()
                places.append((path, facts.st_dev, facts.st_ino))
        return places

    def _open(self, paths: list[str]) -> Any:
        from watchfiles._rust_notify import RustNotify

        polling = os.environ.get("WATCHFILES_FORCE_POLLING", "") not in ("", "0", "false")
        try:
            # not recursive; errors are not ignored, or the system's limit would be ignored too
            return RustNotify(paths, False, polling, REST_MS, False, False)
        except FileNotFoundError:  # a folder was deleted meanwhile
            there = [path for path in paths if Path(path).is_dir()]
            if there == paths or not there:
                raise
            return self._open(there)
        except OSError as err:
            if "limit" not in str(err):
                raise
            raise self._too_many(len(paths)) from err

    def _too_many(self, count: int) -> SyncError:
        try:
            most = f"only {int(_LIMIT.read_text())} folders in all"
        except (OSError, ValueError):
            most = "no more folders"
        msg = f"--watch: {count} folders of {self._source} go, and this system watches {most} for a user"
        hint = "sudo sysctl fs.inotify.max_user_watches=524288, or leave folders out with --exclude"
        return SyncError(msg, hint=hint)

    def _counts(self, path: str) -> bool:
        if self._single:
            return path == str(self._root)
        if not path.startswith(f"{self._top}/"):
            return False
        inside = path[len(self._top) + 1 :]
        parts = inside.split("/")
        if parts[-1].startswith(PART):
            return False
        last = Path(path).is_dir()
        steps = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        why_out = self._rules.why_out
        return all(why_out(step, folder=n + 1 < len(steps) or last) is None for n, step in enumerate(steps))
