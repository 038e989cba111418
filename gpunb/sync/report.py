"""Reports of what a sync did, with a host or with an object store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.errors import SyncError

if TYPE_CHECKING:
    from collections import Counter

    from gpunb.sync.object_store.stores import Stored
    from gpunb.sync.planning.plan import LeftOut, Plan

__all__ = ["CloudReport", "SyncReport"]


@dataclass(slots=True)
class SyncReport:
    """What a sync did, or with a dry run would do.

    Attributes
    ----------
    engine
        "stream", "rsync" or "sftp"; "" if nothing had to go and none was chosen.
    why
        Why this engine and this number of channels.
    way
        Between two hosts: direct, or through this machine and why; else "".
    moved_bytes
        Bytes of files that crossed the network, before compression (stream only).
    matched_bytes
        Bytes of large files that the target had already (stream only).
    retries
        How often the connection broke and the sync went on.
    estimate_s, estimate_usd
        Of a plan, where the session's rates are known.
    sent_files, sent_bytes
        Files and links that went, and the bytes of their content.
    seconds
        Wall time, listing included.
    failed
        Each path that could not go, with the reason.
    deleted
        Paths deleted in the target.
    """

    plan: Plan
    engine: str = ""
    sent_files: int = 0
    sent_bytes: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    why: str = ""
    moved_bytes: int = 0
    matched_bytes: int = 0
    retries: int = 0
    estimate_s: float | None = None
    estimate_usd: float | None = None
    way: str = ""

    def note_unkept(self, reasons: Counter[str], where: str) -> None:
        """Note once that files were written without permissions or times, which `where` does not keep."""
        if reasons:
            words = ", ".join(sorted(reasons))
            self.plan.notes.append(
                f"{where} keeps no permissions or times ({words}): {sum(reasons.values())} files are "
                "in place without; where times are not kept, --checksum sends only what differs"
            )

    def check(self) -> None:
        """Raise `SyncError` with the list of failures, if there are any."""
        if not self.failed:
            return
        shown = [f"{path or '.'}: {reason}" for path, reason in self.failed[:10]]
        if len(self.failed) > 10:
            shown.append(f"and {len(self.failed) - 10} more")
        msg = f"{len(self.failed)} of the files did not go:\n  " + "\n  ".join(shown)
        raise SyncError(msg, hint="the rest is in place; run the same sync again for these")

    def data(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "engine": self.engine,
            "why": self.why,
            "way": self.way,
            "sent_files": self.sent_files,
            "sent_bytes": self.sent_bytes,
            "seconds": self.seconds,
            "moved_bytes": self.moved_bytes,
            "matched_bytes": self.matched_bytes,
            "retries": self.retries,
            "estimate_s": self.estimate_s,
            "estimate_usd": self.estimate_usd,
            "failed": [{"path": path, "reason": reason} for path, reason in self.failed],
            "deleted": list(self.deleted),
            "plan": self.plan.data(),
        }


@dataclass(slots=True)
class CloudReport:
    """What a sync with an object store did, or with a dry run would do.

    Attributes
    ----------
    way, why
        "host" or "here", and the reason; empty if nothing had to move.
    items
        The manifest of what goes: path, bytes, the store's tag.
    unchanged
        How many files were there already.
    """

    url: str
    way: str = ""
    why: str = ""
    items: list[Stored] = field(default_factory=list)
    unchanged: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    total_bytes: int = 0
    sent_files: int = 0
    sent_bytes: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "url": self.url,
            "way": self.way,
            "why": self.why,
            "items": [{"path": i.path, "bytes": i.size, "tag": i.tag, "mtime": i.mtime} for i in self.items],
            "unchanged": self.unchanged,
            "left_out": [{"path": o.path, "rule": o.rule} for o in self.left_out],
            "warnings": list(self.warnings),
            "total_bytes": self.total_bytes,
            "sent_files": self.sent_files,
            "sent_bytes": self.sent_bytes,
            "seconds": self.seconds,
            "failed": [{"path": path, "reason": reason} for path, reason in self.failed],
        }
