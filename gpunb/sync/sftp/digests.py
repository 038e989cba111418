"""Digests that compare files of equal size, computed on the host by sha256sum.

SFTP's times have whole seconds, and two runs that end together write results of one size.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

from gpunb.errors import HostError, Unreachable
from gpunb.ssh.quoting import quote
from gpunb.sync.sftp.host_tree import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.ssh.connection import Connection

__all__ = ["sha256", "whole_digests"]

_PIECE = 2**20
_TIMEOUT = 300.0
_DIGEST = re.compile(r"[0-9a-f]{64}\b")
# one by one and not by name: sha256sum writes odd names in its own way
_EACH = 'for f; do sha256sum <"$f" || echo -; done 2>/dev/null'


def whole_digests(conn: Connection, names: Sequence[str]) -> list[str | None]:
    """Return the SHA-256 of each file at a full path on the host; None for those that failed."""
    listing = _run(conn, ["xargs", "-0", "sh", "-c", _EACH, "sh"], list(names)).splitlines()
    if len(listing) != len(names):
        return [None] * len(names)
    return [line[:64] if _DIGEST.match(line) else None for line in listing]


def sha256(fd: int) -> bytes:
    """Return the same digest of an open local file."""
    digest = hashlib.sha256()
    while piece := os.read(fd, _PIECE):
        digest.update(piece)
    return digest.digest()


def _run(conn: Connection, argv: list[str], names: list[str]) -> str:
    if not names:
        return ""
    try:
        done = conn.run(quote(argv), input=b"\0".join(map(encode, names)), timeout=_TIMEOUT)
    except Unreachable:
        raise
    except HostError:
        return ""
    return done.out.decode("utf-8", "surrogateescape")
