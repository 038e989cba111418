"""Parser of cloud-init documents: the part that a simulated host can carry out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CloudConfig", "read"]


@dataclass(slots=True)
class CloudConfig:
    """Keys, host key, environment and first-boot script of a ``#cloud-config`` document."""

    public_keys: list[str] = field(default_factory=list)
    host_key: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    script: str = ""


def read(text: str, user: str) -> CloudConfig:
    """Read a document for the account `user`.

    A document that is no cloud-config does nothing, as with cloud-init
    itself: the machine boots, and no key can log in.
    """
    import yaml

    if not text.startswith("#cloud-config"):
        return CloudConfig(script=text if text.startswith("#!") else "")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return CloudConfig()
    if not isinstance(data, dict):
        return CloudConfig()
    config = CloudConfig(public_keys=_texts(data.get("ssh_authorized_keys")))
    for entry in data.get("users") or ():
        if isinstance(entry, dict) and entry.get("name") == user:
            config.public_keys += _texts(entry.get("ssh_authorized_keys"))
    keys = data.get("ssh_keys")
    if isinstance(keys, Mapping) and isinstance(keys.get("ed25519_private"), str):
        config.host_key = keys["ed25519_private"]
    for entry in data.get("write_files") or ():
        if isinstance(entry, dict) and entry.get("path") == "/etc/environment":
            for line in str(entry.get("content", "")).splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    config.env[name.strip()] = value
    config.script = "\n".join(_command(entry, user) for entry in data.get("runcmd") or ())
    return config


def _texts(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _command(entry: Any, user: str) -> str:
    line = shlex.join(str(word) for word in entry) if isinstance(entry, list) else str(entry)
    # the simulated account's home is a folder of this machine's user
    for homes in ("/home/* /root", f"/home/{user}"):
        line = line.replace(homes, "'\"$HOME\"'" if isinstance(entry, list) else "$HOME")
    return line
