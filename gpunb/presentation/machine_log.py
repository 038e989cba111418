"""The machine's own log, as its cloud keeps it: a container's output from before SSH was up.

Where the cloud also keeps events (placed, image pulled, started), they come first: a container that never
starts prints nothing, and only they say why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.presentation.result import Block, Code, Note, Result
from gpunb.services.running.log_filter import LINE

if TYPE_CHECKING:
    import re

    from gpunb.services.workspace import Workspace

__all__ = ["machine_log"]

MOST = 1000  # lines that are requested from a cloud


def machine_log(
    context: Workspace,
    session: str | None,
    *,
    daemon: bool,
    tail: int | None,
    wanted: re.Pattern[str] | None = None,
) -> Result:
    """Return the last lines of the instance's log, or of the host daemon's (why a pull failed).

    Parameters
    ----------
    wanted
        Only lines that contain this text; of them the last `tail`.

    Raises
    ------
    NotSupported
        The cloud has no such log; the message says which it is.
    """
    from gpunb.providers import Capability
    from gpunb.providers.features import DaemonLog, feature

    found = context.session(session)
    provider = context.provider(found.provider)
    provider.need(Capability.LOGS)
    of_daemon = feature(provider, DaemonLog) if daemon else None
    events: list[str] = []
    most = MOST if wanted or not tail else tail
    with context.progress(f"log of {found.name}") as progress:
        progress.say(f"asking {provider.title}")
        if of_daemon is not None:
            text = of_daemon.daemon_log(found.instance_id, tail=most)
        else:
            text = provider.logs(found.instance_id, tail=most)
            if provider.can(Capability.EVENTS):
                events = provider.events(found.instance_id, tail=tail or 100)
    lines = [line for line in text.splitlines() if wanted is None or wanted.search(line[:LINE])]
    lines = lines[-tail:] if tail else lines
    data = {
        "session": found.name,
        "instance": found.instance_id,
        "daemon": daemon,
        "text": "\n".join(lines),
        "events": events,
    }
    blocks: list[Block] = []
    if events:
        blocks += [Note(f"events at {provider.title}:", "dim"), Code("\n".join(events)), Note("log:", "dim")]
    if not lines:
        what = f"no line of {found.name}'s log fits" if text.strip() else f"the log of {found.name} is empty"
        return Result(data, *blocks, Note(what, "dim"))
    return Result(data, *blocks, Code("\n".join(lines)))
