"""A new host key of a session's host, which the user vouches for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, HostKeyChanged
from gpunb.hints import typed
from gpunb.sessions.access import host_access

if TYPE_CHECKING:
    from gpunb.sessions.model import Session

__all__ = ["new_host_key"]


def new_host_key(session: Session, told: str) -> str:
    """Pin the host key that the user vouches for, if the host shows it; returns its public line.

    Parameters
    ----------
    told
        Its fingerprint (``SHA256:...``) or public line.

    Raises
    ------
    BadInput
        `told` is neither.
    HostKeyChanged
        The host shows other keys.
    Unreachable
        It shows none.
    """
    from gpunb.ssh import fingerprint
    from gpunb.ssh.channel import BILLED
    from gpunb.ssh.handshake import host_keys
    from gpunb.ssh.hostkeys import repin

    words = told.split()
    is_print = len(words) == 1 and re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", told) is not None
    if not is_print and len(words) < 2:
        msg = f"--host-key {told!r}: must be a fingerprint (SHA256:…) or a public line ('ssh-ed25519 AAAA…')"
        raise BadInput(msg)
    where, shown = host_access.endpoint(session), []
    for line in host_keys(where):
        if line == " ".join(words[:2]) or fingerprint(line) == told.rstrip("="):
            repin(where.known_hosts, where.alias, line)
            host_access.drop(session.id)
            return line
        shown.append(f"{line.split()[0]} {fingerprint(line)}")
    msg = f"the host of {session.name} shows {', '.join(shown) or 'no key'}, not {told}; nothing was changed"
    raise HostKeyChanged(msg, bill=BILLED, hint=typed("down", session.name) + ", if it can't be explained")
