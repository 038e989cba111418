"""Logging to one shared file, with secrets removed before a byte is written.

The file is shared by kernels, servers and terminals: each record is one
appending write, so no process holds it open and rotation can't lose another's
lines. A log that can't be written never breaks a verb.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from typing import IO, Any

from gpunb import paths
from gpunb.patterns import later
from gpunb.text import plain

__all__ = ["add_secret", "get", "problem", "redact", "set_level", "setup"]

MAX_BYTES = 2_000_000
KEEP = 3
HIDDEN = "****"

_ROOT = "gpunb"
_secrets: set[str] = set()
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        later(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        HIDDEN,
    ),
    (
        later(r"(?i)\b(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?)[^\s\"',;}]+"),
        r"\1" + HIDDEN,
    ),
    (later(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{6,}"), r"\1" + HIDDEN),
    (
        later(
            r"(?i)([\w-]*(?:api[_-]?key|apikey|access[_-]?key|token|secret|passw(?:or)?d|_key)[\"']?\s*[:=]\s*[\"']?)"
            r"(?!\*{4})[^\s\"',;&})]+"
        ),
        r"\1" + HIDDEN,
    ),
    (later(r"(?i)(://[^/\s:@]+:)[^/\s@]+(@)"), r"\1" + HIDDEN + r"\2"),
)


def add_secret(value: str) -> None:
    """Register `value` to be removed from logs. Values under 6 characters are too common to hide."""
    if len(value) >= 6:
        _secrets.add(value)


def redact(text: str) -> str:
    """Remove registered secrets from `text`, and text that looks like one."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # logged text of a host or a cloud may contain terminal codes, or lines that look like records
        return plain(redact(super().format(record))).replace("\n", "\n    ")


class _SharedFile(logging.Handler):
    """A handler that appends each record with one write and rotates by size under a file lock."""

    problem: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "replace")
            self._append(line)
            self.problem = None
        except OSError as err:
            self.problem = f"{err.filename or paths.log_file()}: {err.strerror or err}"
        except Exception as err:  # noqa: BLE001 - a log record must never break a verb
            self.problem = f"{type(err).__name__}: {err}"

    def _append(self, line: bytes) -> None:
        path = paths.log_file()
        paths.private_dir(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size + len(line) > MAX_BYTES and self._rotate(handle):
                os.close(handle)
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(handle, line)
        finally:
            os.close(handle)

    @staticmethod
    def _rotate(handle: int) -> bool:
        import fcntl

        path = paths.log_file()
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            quicker = os.fstat(handle).st_ino != path.stat().st_ino
        except FileNotFoundError:
            quicker = True
        if quicker:  # another process rotated while we waited
            return True
        for number in range(KEEP - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            with contextlib.suppress(FileNotFoundError):
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        path.replace(path.with_name(f"{path.name}.1"))
        return True


class _Stderr(logging.StreamHandler[Any]):
    """A handler that writes to the current `sys.stderr` (a notebook's changes per cell)."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    @property
    def stream(self) -> IO[str]:
        return sys.stderr

    @stream.setter
    def stream(self, value: object) -> None:
        pass

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


_file = _SharedFile()
_file.setFormatter(_Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
_stderr: _Stderr | None = None


def setup(verbosity: int = 0) -> None:
    """Start logging to the file; show records on stderr too for ``-v`` and ``-vv``.

    Parameters
    ----------
    verbosity
        0: file only; 1: what gpunb does; 2 and up: everything.
    """
    global _stderr  # noqa: PLW0603 - one handler a process, switched on and off
    root = logging.getLogger(_ROOT)
    root.propagate = False
    if _file not in root.handlers:
        root.addHandler(_file)
        root.setLevel(logging.INFO)
    if _stderr is not None:
        root.removeHandler(_stderr)
        _stderr = None
    if verbosity > 0:
        _stderr = _Stderr()
        _stderr.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
        _stderr.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
        root.addHandler(_stderr)
        root.setLevel(min(root.level, _stderr.level))


def set_level(level: str) -> None:
    """Set the file's log level: "debug", "info", "warning" or "error"."""
    wanted = logging.getLevelName(level.upper())
    root = logging.getLogger(_ROOT)
    root.setLevel(min(wanted, _stderr.level) if _stderr is not None else wanted)
    _file.setLevel(wanted)


def get(name: str) -> logging.Logger:
    """The logger of a module; ``name`` is its ``__name__``."""
    return logging.getLogger(name if name == _ROOT or name.startswith(f"{_ROOT}.") else f"{_ROOT}.{name}")


def problem() -> str | None:
    """Why the last record could not be written, or None (for ``doctor``)."""
    return _file.problem
