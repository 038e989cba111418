"""The provider ``ssh``: any machine that the user can log in to is a cloud of one machine.

`gpunb.providers.ssh.hosts` says which machines there are, `openssh` logs in as the user does, `scripts` is
what runs there, and `record` keeps what was begun where.
"""

from __future__ import annotations

from gpunb.providers.ssh.provider import SshProvider

__all__ = ["SshProvider"]
