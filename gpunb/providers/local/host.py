"""The host process: ``python -m gpunb.providers.local.host DIR``.

Detaches itself, serves SSH until SIGTERM, and writes one line of JSON to its
standard output: that it listens, or why it can't.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from gpunb.providers.local.files import read_json

__all__ = ["main"]

_LOG_BYTES = 512 * 1024  # twice: the file and the one before


def _detach() -> None:
    """Detach from the creator for good: a child of a session leader never gets a terminal."""
    if os.getsid(0) != os.getpid():
        if os.fork():
            os._exit(0)
        os.setsid()
    if os.fork():
        os._exit(0)


def _answer(value: dict[str, Any]) -> None:
    """Send the answer to the creator, who may be gone, and close the pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(value).encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)


def _adopt_orphans() -> None:
    """Become the parent of orphaned child processes (prctl(2), Linux 3.4)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _log_to(path: Path) -> None:
    logging.raiseExceptions = False  # a full disk must not end the host
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # at this level the library logs every channel
    logging.getLogger("asyncssh").setLevel(logging.WARNING)


def main(argv: list[str]) -> int:
    """Serve the directory ``argv[0]``."""
    directory = Path(argv[0])
    _detach()
    os.umask(0o022)
    try:
        config = read_json(directory / "config.json")
        if config is None:
            _answer({"error": f"{directory} holds no config.json"})
            return 1
        _log_to(directory / "host.log")
        _adopt_orphans()
        os.chdir(directory / "home")  # where relative SFTP paths and sockets start
        import asyncio

        from gpunb.providers.local.server import serve

        return asyncio.run(serve(directory, config, _answer))
    except OSError as err:
        _answer({"error": f"{err.strerror or err} ({err.filename or directory})"})
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
