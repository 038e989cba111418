"""Copies that a cloud makes itself: started once, followed by an instance's status, cancelled on Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpunb.errors import Cancelled, GpunbError, SyncError
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.progress import Progress
    from gpunb.providers import Provider
    from gpunb.providers.features import CloudCopy, InstanceCopy
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["to_its_end"]

POLL_S = 5.0
# the status comes half a minute late, and may still be that of an earlier copy
STALE_S = 90.0


def to_its_end(  # noqa: PLR0917 - two copies, one way through
    context: Workspace,
    cloud: tuple[Provider, CloudCopy | InstanceCopy],
    session: Session,
    title: str,
    begin: Callable[[], None],
    cancel: Callable[[str], None],
) -> str:
    """Start a copy by the cloud, follow it at `session`, cancel it on Ctrl-C; returns its duration.

    Raises
    ------
    SyncError
        The cloud reports that it failed.
    Cancelled
        Ctrl-C; the message says whether the cloud confirmed the copy's end.
    """
    began = time.monotonic()
    with context.progress(title) as progress:
        before = cloud[0].get(session.instance_id).message
        begin()
        try:
            _follow(context, *cloud, session, before, progress)
        except KeyboardInterrupt:
            _cancel(cancel, cloud[0].title, session)
    return duration_text(time.monotonic() - began)


def _follow(  # noqa: PLR0917 - one call
    context: Workspace,
    provider: Provider,
    copies: CloudCopy | InstanceCopy,
    session: Session,
    before: str,
    progress: Progress,
) -> None:
    began = time.monotonic()
    changed = False
    while True:
        time.sleep(POLL_S)
        context.ledger.touch(session.id)
        message = provider.get(session.instance_id).message
        progress.say(message or "waiting for the host")
        changed = changed or message != before
        state = copies.copy_state(message)
        if state is False and (changed or time.monotonic() - began > STALE_S):
            msg = f"{provider.title}'s copy failed: {message}"
            raise SyncError(msg, hint="run it again: what is there already is not copied twice")
        if state and (changed or time.monotonic() - began > STALE_S):
            return


def _cancel(end: Callable[[str], None], title: str, session: Session) -> None:
    try:
        end(session.instance_id)
    except GpunbError as err:
        msg = f"the copy may still run: {title} did not confirm its end ({err.message})"
        raise Cancelled(msg, bill="its traffic may be billed") from err
    msg = f"cancelled; {title} accepted the call to end the copy; what it has copied stays"
    raise Cancelled(msg)
