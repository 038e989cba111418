"""`sync`: run one sync from its source and target to its report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from gpunb.errors import BadInput
from gpunb.progress import SILENT
from gpunb.sync.base_flow import SyncOptions
from gpunb.sync.sftp.sftp_flow import by_sftp
from gpunb.sync.stream.sync_session import by_agent
from gpunb.sync.throttle import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.progress import Progress
    from gpunb.remote import AgentClient
    from gpunb.ssh.connection import Connection
    from gpunb.sync.planning.estimate import Rates
    from gpunb.sync.report import SyncReport

__all__ = ["sync"]


def sync(
    conn: Connection,
    source: str,
    target: str,
    *,
    direction: Literal["up", "down"],
    delete: bool = False,
    dry_run: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    checksum: bool = False,
    mirror: bool = False,
    yes: bool = False,
    follow: bool = False,
    hold: bool = False,
    limit_rate: float | None = None,
    agent: AgentClient | None = None,
    rates: Rates | None = None,
    guard: bool | None = None,
    engine: Literal["auto", "stream", "rsync", "sftp"] = "auto",
    progress: Progress = SILENT,
) -> SyncReport:
    """Make `target` hold what `source` holds.

    A folder's contents land in `target`, with or without a slash at the end
    of either: ``data`` to ``data`` never makes ``data/data``. A file lands in
    `target` if that is a folder or is written like one (``out/``, ``.``),
    else it takes that name. Paths on the host begin at its home.

    Times (whole seconds; nanoseconds with the agent), permission bits, holes of
    large files (with the agent) and links that stay inside are kept; owners are
    not, and each name of a file with several (hard links) becomes a file of its
    own. Files of the same size and time are not sent again.

    Parameters
    ----------
    direction
        "up": `source` is here and `target` on the host; "down": the reverse.
    delete
        Also delete in `target` what `source` does not have, except what a
        rule leaves out. A dry run shows what.
    dry_run
        Make the plan and return it; nothing is written anywhere.
    include, exclude
        Patterns in git's ignore syntax; see `gpunb.sync.planning.rules`. On the way
        down no ignore file counts: a result is never hidden by one.
    checksum
        Compare by content: by digests of both sides. Without an agent the host's sha256sum
        computes them; where it has none, every file goes again.
    mirror
        As `delete`, and what an ignore file or `exclude` hides is deleted too;
        `.git`, environments and caches stay.
    yes
        Delete even where nothing of the target stays: the source holds no
        file, or none of the target's (20 or more).
    follow
        Take links that lead out of the source for what they lead to; never
        one that leads to a folder which it is in.
    hold
        On the way up, leave out what looks like credentials.
    limit_rate
        Bytes a second that may go.
    agent
        The host's agent, for the stream engine, over its own connection, not `conn`.
        A broken connection is waited for, and the sync goes on where it was.
    rates
        Known rates and prices of network traffic, for the estimate.
    guard
        The host is a stranger: what could run on this side (`gpunb.sync.local.autorun`) is held back
        and named, unless `include` names it. None goes by the agent's trust; without an agent
        it is a stranger.
    engine
        "auto" takes the stream engine where there is an agent. Else rsync on
        the way up where both ends have it and more than 1 MiB goes, else
        SFTP; on the way down SFTP, which trusts no answer of the host.

    Returns
    -------
    SyncReport
        With the paths that could not go in `failed`; `SyncReport.check`
        raises if there are any.

    Raises
    ------
    BadInput
        A path that is not there, a target that is refused, a bad pattern, a
        deletion of all that the target holds without `yes`.
    NotEnoughSpace
        The target has no room for the plan; nothing was written.
    SyncError
        Another sync into the same place is running, or a disk is full.
    Unreachable
        The connection broke. Each file is old or new; run it again.
    """
    if direction not in ("up", "down"):
        msg = f"direction {direction!r}: must be 'up' or 'down'"
        raise BadInput(msg)
    if engine not in ("auto", "stream", "rsync", "sftp"):
        msg = f"engine {engine!r}: must be 'auto', 'stream', 'rsync' or 'sftp'"
        raise BadInput(msg)
    if agent is None and engine == "stream":
        msg = "engine 'stream': it works through the agent, and none was given"
        raise BadInput(msg)
    wish = SyncOptions(
        delete="mirror" if mirror else "delete" if delete else "",
        dry_run=dry_run,
        include=include,
        exclude=exclude,
        checksum=checksum,
        yes=yes,
        follow=follow,
        hold=hold,
        pace=Pace(limit_rate),
        rates=rates,
        progress=progress,
    )
    if agent is not None and engine in ("auto", "stream"):
        return by_agent(agent, source, target, direction, wish)
    began = time.monotonic()
    stranger = guard if guard is not None else agent is None or agent.trust != "own"
    report = by_sftp(conn, (source, target, direction), wish, guard=stranger, engine=engine)
    report.seconds = time.monotonic() - began
    return report
