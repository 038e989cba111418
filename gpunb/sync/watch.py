"""``--watch``: a sync after each change here, once the changes have come to rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.sync.rules import PART, Rules

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

__all__ = ["changes"]

REST_MS = 300  # changes that come closer together than this are one
WAKE_MS = 500


def changes(
    source: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stop: threading.Event | None = None,
) -> Iterator[int]:
    """How many paths changed, each time that changes below `source` have come to rest.

    What a rule leaves out wakes nobody. Ends when `stop` is set.

    Raises
    ------
    OSError
        The system's limit of watched folders is reached (`fs.inotify.max_user_watches`).
    """
    from watchfiles import watch

    root = source.resolve()
    single = root.is_file()
    top = root.parent if single else root
    rules = Rules(top, include=include, exclude=exclude)

    def counts(_change: object, path: str) -> bool:
        found = Path(path)
        if single:
            return found == root
        try:
            parts = found.relative_to(top).parts
        except ValueError:
            return False
        if not parts or parts[-1].startswith(PART):
            return False
        steps = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        last = found.is_dir()
        return all(rules.why_out(s, folder=n + 1 < len(steps) or last) is None for n, s in enumerate(steps))

    for found in watch(
        top, watch_filter=counts, debounce=10 * REST_MS, step=REST_MS, stop_event=stop,
        rust_timeout=WAKE_MS, yield_on_timeout=False, recursive=not single,
    ):  # fmt: skip
        yield len(found)
        rules = Rules(top, include=include, exclude=exclude)  # an ignore file may be among them
