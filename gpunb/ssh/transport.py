"""paramiko's transport with one repair. Imports paramiko: import this lazily."""

from __future__ import annotations

import threading
from typing import Any

import paramiko

__all__ = ["Transport"]

# OpenSSH's own limits for AES: 2**32 blocks of 16 bytes, 2**31 packets.
# paramiko's 512 MiB would mean a pause of a round trip several times a second.
_REKEY_BYTES = 2**36
_REKEY_PACKETS = 2**31


class Transport(paramiko.Transport):
    """A transport that survives a channel's end in the middle of a key exchange.

    paramiko (seen in 5.1.0) answers a channel close from its reading thread,
    and while new keys are negotiated that answer waits for the reading thread
    itself: after 30 s the connection dies. Here such answers wait in a queue.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._late: list[Any] = []
        super().__init__(*args, **kwargs)
        limits: Any = self.packetizer
        limits.REKEY_BYTES, limits.REKEY_PACKETS = _REKEY_BYTES, _REKEY_PACKETS

    def _send_user_message(self, data: Any) -> None:
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._late.append(data)
        else:
            super()._send_user_message(data)  # type: ignore[misc]

    def _parse_newkeys(self, message: Any) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc]
        late, self._late = self._late, []
        for data in late:
            super()._send_user_message(data)  # type: ignore[misc]
