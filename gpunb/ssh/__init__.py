"""SSH: keys, pinned host keys, connections and forwards.

It knows endpoints and no sessions; nothing else imports paramiko.
"""

from __future__ import annotations

from gpunb.ssh.connection import Completed, Connection, open_patiently, probe, wait_reachable
from gpunb.ssh.endpoint import Endpoint, config_block, ssh_argv, ssh_options
from gpunb.ssh.keys import KeyPair, fingerprint, generate, generate_host_key
from gpunb.ssh.quoting import quote

__all__ = [
    "Completed",
    "Connection",
    "Endpoint",
    "KeyPair",
    "config_block",
    "fingerprint",
    "generate",
    "generate_host_key",
    "open_patiently",
    "probe",
    "quote",
    "ssh_argv",
    "ssh_options",
    "wait_reachable",
]
