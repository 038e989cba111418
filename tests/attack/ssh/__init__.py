"""A host's SSH server that lies, against gpunb's own SSH and the system's."""

from __future__ import annotations

from tests.attack.ssh import channels, greeting, login

__all__ = ["channels", "greeting", "login"]
