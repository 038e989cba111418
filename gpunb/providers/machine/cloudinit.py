"""First-boot script for clouds with cloud-init: SSH key, host key, lease, environment.

cloud-config is YAML, and JSON is YAML: the document is written with ``json``,
so that no value of the user's can change its structure.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.hints import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["host_public", "unheld_key", "user_data"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def host_public(private: str) -> str:
    """Return the public line of an OpenSSH private key.

    Raises
    ------
    BadInput
        It is not one.
    """
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_private_key(private.encode(), password=None)
    except ValueError as err:
        msg = f"host_key is not an OpenSSH private key: {err}"
        raise BadInput(msg, bill="nothing was rented") from err
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()


def unheld_key() -> str:
    """Return the public line of a new key whose private half is thrown away: nobody can log in by it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{line.decode()} gpunb-nobody-holds-it"


def user_data(
    *,
    public_key: str,
    user: str = "",
    host_key: str | None = None,
    env: Mapping[str, str] | None = None,
    onstart: str = "",
    deadline: float | None = None,
    limit: int = 32000,
) -> str:
    """Build the ``#cloud-config`` document.

    Parameters
    ----------
    public_key
        One OpenSSH line that may log in.
    user
        The account to make for it; empty for the image's default user.
    host_key
        An ed25519 private key (OpenSSH PEM) that the SSH server shall show.
    env
        Written to ``/etc/environment`` and to a profile script, so that also
        logins without a shell see it.
    onstart
        Shell script, run once as root at the end of the first boot.
    deadline
        Unix time at which the work on the host ends: put where the agent
        looks for its lease, so it holds from the agent's first moment.
    limit
        The cloud's bound, characters.

    Raises
    ------
    BadInput
        A value that can't be put there, or a document that is too long.
    """
    config: dict[str, Any] = {}
    if user:
        config["users"] = [
            {
                "name": user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": [public_key],
            }
        ]
    else:
        config["ssh_authorized_keys"] = [public_key]
    if host_key:
        config["ssh_deletekeys"] = True
        config["ssh_keys"] = {"ed25519_private": host_key, "ed25519_public": host_public(host_key)}
    if env:
        config["write_files"] = _environment_files(env)
    commands: list[list[str]] = []
    if deadline is not None:
        commands.append(["sh", "-c", _arm(deadline, user)])
    if onstart:
        commands.append(["/bin/bash", "-c", onstart])
    if commands:
        config["runcmd"] = commands
    text = "#cloud-config\n" + json.dumps(config, ensure_ascii=False)
    if len(text) > limit:
        msg = f"onstart and env make a first-boot script of {len(text)} characters; the cloud takes {limit}"
        raise BadInput(
            msg, bill="nothing was rented", hint="send the rest with " + typed("sync") + " once it runs"
        )
    return text


def _arm(deadline: float, user: str) -> str:
    """Build the script that writes the lease into the user's home, or into every home if it is not known."""
    homes = f"/home/{user}" if user else "/home/* /root"
    lease = shlex.quote(json.dumps({"deadline": deadline}))
    return (
        f'umask 077; for home in {homes}; do [ -d "$home" ] || continue; '
        f'mkdir -p "$home/.gpunb" && echo {lease} > "$home/.gpunb/lease.json"; '
        'chown -R "$(stat -c %u:%g "$home")" "$home/.gpunb"; done'
    )


def _environment_files(env: Mapping[str, str]) -> list[dict[str, Any]]:
    plain, profile = [], []
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            msg = f"env: {name!r} is not a variable's name (letters, digits and _, no digit first)"
            raise BadInput(msg, bill="nothing was rented")
        if any(sign in value for sign in "\n\r\0"):
            msg = f"env: the value of {name} has a line end, and /etc/environment can't hold one"
            raise BadInput(msg, bill="nothing was rented")
        plain.append(f"{name}={value}")
        profile.append(f"export {name}={shlex.quote(value)}")
    return [
        {"path": "/etc/environment", "append": True, "content": "\n".join(["", *plain, ""])},
        {"path": "/etc/profile.d/gpunb.sh", "permissions": "0644", "content": "\n".join([*profile, ""])},
    ]
