"""A pytest plug-in: which test a socket or process that nobody closed came from, and which line made it.

It is collected in a later test, and pytest's report names that one. Here each socket that connects or binds
and each process that starts is noted with the test and the lines that did it; a report that names one
of them shows the note.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import FrameType

_LINES = 8
_BESIDE = (os.path.dirname(os.__file__), __file__)
"""Whose lines say little, as those of packages: the standard library's and ours."""

_now = "before the first test"
_by_fd: dict[int, str] = {}
_by_pid: dict[int, str] = {}
_NAMED = re.compile(
    r"\bfd=(\d+)|\bFileIO name=(\d+)|\bname=(\d+) (?:mode|encoding)=|subprocess (\d+) is still running"
)


def _stack(frame: FrameType | None) -> str:
    lines = []
    while frame is not None and len(lines) < _LINES:
        path = frame.f_code.co_filename
        if not path.startswith(_BESIDE) and "site-packages" not in path:
            lines.append(f"{path}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return "\n  ".join([_now, *lines])


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.bind"):
        _by_fd[args[0].fileno()] = _stack(sys._getframe(1))


def _note_processes() -> None:
    begin = subprocess.Popen.__init__

    @wraps(begin)
    def noted(self: Any, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        _by_pid[self.pid] = note = _stack(sys._getframe(1))
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                _by_fd[pipe.fileno()] = note

    subprocess.Popen.__init__ = noted  # type: ignore[method-assign]


def origins(text: str) -> list[str]:
    """The notes on the sockets and processes that `text` names."""
    found = {}
    for match in _NAMED.finditer(text):
        *fds, pid = match.groups()
        note = _by_pid.get(int(pid)) if pid else _by_fd.get(int(next(filter(None, fds))))
        if note:
            found[f"{match.group()}: made in {note}"] = None
    return list(found)


def _words(error: BaseException) -> Iterator[str]:
    """What an error says, and each one of a group: pytest puts several together."""
    yield str(error)
    for one in getattr(error, "exceptions", ()):
        yield from _words(one)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """What is collected when pytest looks no more: at the end of a worker."""
    sys.__unraisablehook__(unraisable)
    for note in origins(str(unraisable.exc_value)):
        print(note, file=sys.stderr)


def pytest_configure(config: pytest.Config) -> None:
    del config
    sys.addaudithook(_audit)
    sys.unraisablehook = _unraisable
    _note_processes()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    global _now  # noqa: PLW0603
    _now = nodeid


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    del item
    report = yield
    if report.failed and call.excinfo is not None:
        notes = origins("\n".join(_words(call.excinfo.value)))
        if notes:
            report.sections.append(("where it came from", "\n".join(notes)))
    return report
