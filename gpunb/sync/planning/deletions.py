"""Limits on ``--delete``: never all of a target unasked, and nothing that was not shown."""

from __future__ import annotations

import hashlib
import json
import os
import time
import unicodedata
from itertools import chain
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.paths import home, private_dir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.sync.planning.plan import Plan

__all__ = ["Shown", "WouldEmpty", "check_source", "in_the_way", "would_empty"]

MANY = 20  # deletions from which emptying the target needs a confirmation
GOOD_S = 3600.0  # how long the list of a dry run is valid


class WouldEmpty(BadInput):
    """The deletion would empty the target: an unmounted disk or a wrong folder looks like that."""


def check_source(plan: Plan, where: str, *, yes: bool) -> None:
    """Raise `WouldEmpty` if the deletions would leave nothing of the target; never with `yes`.

    The source holds no file, or none of the many files in the target is in it.
    """
    if yes or not plan.deletions:
        return
    count = len(plan.deletions)
    if not any(item.kind != "dir" for item in chain(plan.items, plan.unchanged)):
        why = "the source holds no file: is a disk not mounted, or the machine a new one?"
    elif not plan.met and count >= MANY:
        why = "not one of the files there is in the source: is it the right folder?"
    else:
        return
    msg = f"--delete would remove {count} files and folders from {where}, and {why}"
    raise WouldEmpty(msg, hint="nothing was moved or deleted; --dry-run lists them, --yes goes on")


def would_empty(plan: Plan, where: str) -> None:
    """Note in a dry run that the run itself will ask for confirmation."""
    try:
        check_source(plan, where, yes=False)
    except WouldEmpty as err:
        plan.notes.append(f"{err.message} (the run itself asks, or takes --yes)")


def in_the_way(plan: Plan) -> list[str]:
    """The deletions to do before sending: those that a new item collides with in kind or in case."""
    doomed: dict[str, list[str]] = {}
    for path in plan.deletions:
        doomed.setdefault(_folded(path), []).append(path)
    hit = {path for item in chain(plan.items, plan.folders) for path in doomed.get(_folded(item.path), ())}
    return [path for path in plan.deletions if path in hit or any(above in hit for above in _above(path))]


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


class Shown:
    """The deletions that a dry run showed: the next run between the same endpoints deletes only these."""

    def __init__(self, *words: object) -> None:
        digest = hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()[:24]
        self._name = f"deletions-{digest}"

    @property
    def _path(self) -> Path:
        return private_dir(home() / "plans") / self._name

    def keep(self, plan: Plan) -> None:
        """Save the deletions that a dry run shows; a failed write is ignored."""
        try:
            beside = self._path.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps(plan.deletions))
            beside.replace(self._path)
        except OSError:
            return

    def narrow(self, plan: Plan) -> None:
        """Remove from `plan` deletions that the dry run did not show; the record is used once."""
        if not plan.deletions:
            return
        try:
            path = self._path
            fresh = time.time() - path.stat().st_mtime < GOOD_S
            shown = set(json.loads(path.read_text())) if fresh else None
            path.unlink()
        except (OSError, ValueError, TypeError):
            return
        if shown is None:
            return
        late = [path for path in plan.deletions if path not in shown]
        if not late:
            return
        spared = {*late, *(above for path in late for above in _above(path))}
        plan.deletions = [path for path in plan.deletions if path not in spared]
        first = ", ".join(late[:3]) + (f" and {len(late) - 3} more" if len(late) > 3 else "")
        plan.notes.append(f"came after the dry run and stays: {first}; the next --delete takes it")
