"""Secrets for one run (``--secret NAME``): where they are read from, and which hosts may get them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from gpunb import log
from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed

if TYPE_CHECKING:
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["SERVICE", "collect", "is_kept"]

SERVICE = "gpunb"
MOST = 20
LONGEST = 16 << 10  # bytes
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


def collect(context: Workspace, session: Session, names: tuple[str, ...]) -> dict[str, str]:
    """Collect the secrets called `names` for a run on `session`'s host.

    Each is read from this environment, else from the system's keyring (service "gpunb", name
    "secret:NAME"), else asked for. From here on no log shows it.

    Raises
    ------
    BadInput
        A name is invalid, or there is no such secret and the user can't be asked.
    WrongState
        The host's trust is below the setting ``secrets.min_trust``.
    """
    wanted = tuple(dict.fromkeys(name.strip() for text in names for name in text.split(",")))
    for name in wanted:
        if not _NAME.match(name):
            # a value in the command would be kept in the shell's history and the notebook
            shown = f"{name.partition('=')[0][:40]}=…" if "=" in name else name[:40]
            msg = f"--secret {shown!r} is not the name of a variable"
            raise BadInput(msg, hint="--secret HF_TOKEN takes its value from the environment, or asks for it")
    if not wanted:
        return {}
    if len(wanted) > MOST:
        msg = f"--secret: {len(wanted)} names, and a run takes at most {MOST}"
        raise BadInput(msg)
    _check_trust(context, session, wanted)
    return {name: _value(context, name) for name in wanted}


def _check_trust(context: Workspace, session: Session, names: tuple[str, ...]) -> None:
    from gpunb.trust import rank

    least = context.settings.secrets.min_trust
    if rank(session.trust) < rank(least):
        msg = (
            f"--secret {', '.join(names)}: {session.name}'s host is a {session.trust}, "
            f"and secrets go to hosts from {least!r} on"
        )
        raise WrongState(
            msg,
            bill="nothing was run",
            hint=typed("trust", session.name, least) + ", if you do; secrets.min_trust is the setting",
        )


def _value(context: Workspace, name: str) -> str:
    value = os.environ.get(name, "") or _from_keyring(name)
    if not value:
        if not context.interactive and context.shell is None:
            msg = f"--secret {name}: there is no such variable here, nor a secret of that name in the keyring"
            raise BadInput(msg, hint=f"export {name}=…, or keyring set {SERVICE} secret:{name}")
        import getpass

        value = getpass.getpass(f"{name} (for this run only): ")
    if not value or "\0" in value or len(value.encode("utf-8", "replace")) > LONGEST:
        msg = f"--secret {name}: its value is empty, or longer than {LONGEST:,} bytes"
        raise BadInput(msg)
    log.add_secret(value)
    return value


def is_kept(name: str) -> bool:
    """Whether the keyring has the secret `name`: any process of the user's can read it there."""
    return bool(_from_keyring(name))


def _from_keyring(name: str) -> str:
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, f"secret:{name}") or ""
    except (KeyringError, RuntimeError, OSError) as err:  # a machine without a keyring is no failure
        log.get(__name__).debug("keyring: %s", err)
        return ""
