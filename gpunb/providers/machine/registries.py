"""Password of a registry of private images: environment, keyring, a private file, or docker's own.

It is looked up when it is needed, handed to the cloud with the create call, and kept nowhere.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb import log
from gpunb.errors import BadInput
from gpunb.providers import keys
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = ["VARIABLE", "find", "split"]

VARIABLE = "GPUNB_REGISTRY_PASSWORD"
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/")


def split(verb: str, given: str, *, undone: str) -> tuple[str, str]:
    """Split ``USER@SERVER`` or ``SERVER`` into user ("" if not given) and server.

    Raises
    ------
    BadInput
        It is something else; a password in it is not repeated.
    """
    user, _, server = given.rpartition("@")
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?", server) or ("@" in given and not user):
        msg = f"{verb} --registry-login: must be USER@SERVER or SERVER, such as me@ghcr.io"
        raise BadInput(msg, bill=undone, hint="gpunb asks for the password; don't type it there")
    if ":" in user or not user.isprintable() or " " in user:
        msg = f"{verb} --registry-login: takes no password: it would stay in the shell's history"
        hint = f"gpunb asks for it, or reads it from {VARIABLE}, the keyring or docker's own settings"
        raise BadInput(msg, bill=undone, hint=hint)
    return user, server.lower()


def find(server: str, user: str) -> tuple[str, keys.FoundKey] | None:
    """Find user and password for `server`, and where they were found; None if there are none.

    Raises
    ------
    SettingsError
        A file of ours holds it, and others may read that.
    """
    name = f"registry-{server.replace(':', '-')}"
    key = keys.find(name, VARIABLE)
    if key is not None and user:
        return user, key
    return _dockers(server, user)


def _dockers(server: str, user: str) -> tuple[str, keys.FoundKey] | None:
    """Return what ``docker login`` stored in its file; secrets in its helpers are not read."""
    folder = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    file = Path(folder) / "config.json"
    try:
        auths = json.loads(file.read_text("utf-8")).get("auths")
    except (OSError, ValueError, AttributeError, UnicodeDecodeError):
        return None
    if not isinstance(auths, dict):
        return None
    for name in _HUB if server in _HUB else (server, f"https://{server}", f"https://{server}/v1/"):
        kept, password = _decoded(auths.get(name))
        if password and (not user or kept == user):
            log.add_secret(password)
            return kept, keys.FoundKey(_secret(password), f"docker's own {clean(file, 200)}")
    return None


def _decoded(row: object) -> tuple[str, str]:
    row_: Mapping[str, object] = row if isinstance(row, dict) else {}
    try:
        text = base64.b64decode(str(row_.get("auth") or ""), validate=True).decode("utf-8")
    except ValueError:
        return "", ""
    user, _, password = text.partition(":")
    return user, password.rstrip("\0")


def _secret(text: str) -> SecretStr:
    from pydantic import SecretStr

    return SecretStr(text)
