"""The first completion, made before the first Tab.

jedi's import and its first look at the builtins take seconds, which no key press should wait for. It can't
be used by two threads at once: a Tab that comes meanwhile waits for the rest.
"""

from __future__ import annotations

import contextlib
import threading

AFTER_S = 3.0  # the cell that is sent first has the interpreter for itself

_asked = threading.Event()
_threads: list[threading.Thread] = []


def prepare() -> None:
    """Make it once, in a thread of its own."""
    if not _threads:
        _threads.append(threading.Thread(target=_complete, name="gpunb-first-completion", daemon=True))
        _threads[0].start()


def settle() -> None:
    """Wait until it is made, before another one; if it has not begun, it need not be made any more."""
    _asked.set()
    for thread in _threads:
        thread.join()


def _complete() -> None:
    if _asked.wait(AFTER_S):
        return
    with contextlib.suppress(Exception):  # a host without jedi has nothing to prepare
        import jedi  # type: ignore[import-untyped]

        for name in jedi.Interpreter("pr", [{}]).complete()[:1]:
            name.type  # noqa: B018 - IPython asks for it, and that reads the builtins' types
