"""Digests that compare files of equal size and mtime, computed on the host by sha256sum.

SFTP's times have whole seconds, and two runs that end together write results of one size. The host's
digests decide only whether its files are fetched again.
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
    from pathlib import Path

    from gpunb.ssh.connection import Connection
    from gpunb.sync.planning.plan import Item

__all__ = ["WHOLE", "digest_here", "digests", "sha256", "whole_digests"]

WHOLE = 64 * 2**20  # bytes; of a larger file the first and last `ENDS` are compared
ENDS = 2**20
_TIMEOUT = 300.0
_DIGEST = re.compile(r"[0-9a-f]{64}\b")
# one by one and not by name: sha256sum writes odd names in its own way
_EACH = 'for f; do sha256sum <"$f" || echo -; done 2>/dev/null'
_LARGE = 'n=$1; shift; for f; do { head -c "$n" -- "$f"; tail -c "$n" -- "$f"; } | sha256sum; done'


def digests(conn: Connection, root: str, items: Sequence[Item]) -> dict[str, str]:
    """Return the digest of each file below `root`, by its path; those that failed are missing."""
    found: dict[str, str] = {}
    small = [item for item in items if item.size <= WHOLE]
    large = [item for item in items if item.size > WHOLE]
    names = {f"{root}/{item.path}": item.path for item in small}
    said = _run(conn, ["xargs", "-0", "sha256sum", "--"], list(names))
    for line in said.split("\n"):
        digest, _, name = line.partition("  ")
        if name in names and len(digest) == 64:
            found[names[name]] = digest
    lines = _run(
        conn, ["xargs", "-0", "sh", "-c", _LARGE, "sh", str(ENDS)], [f"{root}/{i.path}" for i in large]
    )
    ends = [line.split()[0] for line in lines.splitlines() if line.split()]
    if len(ends) == len(large):
        found.update((item.path, digest) for item, digest in zip(large, ends, strict=True))
    return found


def whole_digests(conn: Connection, names: Sequence[str]) -> list[str | None]:
    """Return the SHA-256 of each file at a full path on the host; None for those that failed."""
    said = _run(conn, ["xargs", "-0", "sh", "-c", _EACH, "sh"], list(names)).splitlines()
    if len(said) != len(names):
        return [None] * len(names)
    return [line[:64] if _DIGEST.match(line) else None for line in said]


def sha256(fd: int) -> bytes:
    """Return the same digest of an open local file."""
    digest = hashlib.sha256()
    while piece := os.read(fd, ENDS):
        digest.update(piece)
    return digest.digest()


def digest_here(path: Path, size: int) -> str:
    """Return the same digest of a local file; `OSError` if it can't be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE:
            while piece := file.read(ENDS):
                digest.update(piece)
        else:
            digest.update(file.read(ENDS))
            file.seek(-ENDS, 2)
            digest.update(file.read(ENDS))
    return digest.hexdigest()


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
