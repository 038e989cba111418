"""A paramiko transport with one fix and with size limits. Imports paramiko: import this lazily."""

from __future__ import annotations

import threading
from typing import Any

from gpunb.ssh.paramiko_import import paramiko

__all__ = ["Transport"]

# OpenSSH's own limits for AES: 2**32 blocks of 16 bytes, 2**31 packets.
# paramiko's 512 MiB would mean a pause of a round trip several times a second.
_REKEY_BYTES = 2**36
_REKEY_PACKETS = 2**31

# What an honest server never exceeds. paramiko (seen in 5.1.0) has no bounds of
# its own: a length field is read whatever it says, an unfinished line is kept
# however long, and a channel's window is not enforced.
_LONGEST_PACKET = 2**19
_LONGEST_GREETING = 2**16
_SLACK = 2**19


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
        _bound_packets(limits)
        table: dict[int, Any] = dict(paramiko.Transport._channel_handler_table)  # type: ignore[attr-defined]  # noqa: SLF001
        table.update({number: _within_window(table[number]) for number in _CARRY_DATA})
        self._channel_handler_table = table

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


_CARRY_DATA = (paramiko.common.MSG_CHANNEL_DATA, paramiko.common.MSG_CHANNEL_EXTENDED_DATA)


def _bound_packets(packetizer: Any) -> None:
    """Refuse a packet, or a greeting before the first one, that is longer than any honest one."""
    read_all, read_some = packetizer.read_all, packetizer._read_timeout  # noqa: SLF001 - no public access
    greeted = 0

    def bounded(size: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - its signature
        if size > _LONGEST_PACKET:
            msg = f"the server announced a packet of {size} bytes"
            raise paramiko.SSHException(msg)
        data: bytes = read_all(size, check_rekey)
        return data

    def counted(timeout: float) -> bytes:
        nonlocal greeted
        data: bytes = read_some(timeout)
        greeted += len(data)
        if greeted > _LONGEST_GREETING:
            msg = f": more than {_LONGEST_GREETING} bytes and no version line"
            raise paramiko.SSHException(msg)
        return data

    packetizer.read_all, packetizer._read_timeout = bounded, counted  # noqa: SLF001


def _within_window(handler: Any) -> Any:
    """Wrap `handler` to refuse channel data beyond the window that we granted."""

    def feed(channel: Any, message: Any) -> None:
        handler(channel, message)
        waiting = len(channel.in_buffer) + len(channel.in_stderr_buffer)
        if waiting > channel.in_window_size + _SLACK:
            msg = f"the server sent {waiting} bytes into a window of {channel.in_window_size}"
            raise paramiko.SSHException(msg)

    return feed
