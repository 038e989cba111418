"""Pseudo-terminals for SSH clients: size, modes and controlling terminal."""

from __future__ import annotations

import contextlib
import fcntl
import pty
import struct
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TerminalSpec", "own_terminal", "resize"]

# RFC 4254, section 8: the terminal modes that a user notices
_CHARS = {
    1: termios.VINTR,
    2: termios.VQUIT,
    3: termios.VERASE,
    4: termios.VKILL,
    5: termios.VEOF,
    8: termios.VSTART,
    9: termios.VSTOP,
    10: termios.VSUSP,
}
_FLAGS = {
    36: (0, termios.ICRNL),
    38: (0, termios.IXON),
    70: (1, termios.OPOST),
    72: (1, termios.ONLCR),
    50: (3, termios.ISIG),
    51: (3, termios.ICANON),
    53: (3, termios.ECHO),
    54: (3, termios.ECHOE),
    55: (3, termios.ECHOK),
}


class TerminalSpec:
    """The terminal that a client requests: size and RFC 4254 modes."""

    def __init__(self, size: Sequence[int], modes: Mapping[int, int]) -> None:
        self.size = size
        self.modes = modes

    def open(self) -> tuple[int, int]:
        """Open a new master and slave."""
        master, slave = pty.openpty()
        resize(master, self.size)
        with contextlib.suppress(termios.error):
            self._apply(slave)
        return master, slave

    def _apply(self, slave: int) -> None:
        attributes = termios.tcgetattr(slave)
        for opcode, value in self.modes.items():
            if opcode in _CHARS:
                attributes[6][_CHARS[opcode]] = bytes([value if value < 255 else 0])
            elif opcode in _FLAGS:
                which, flag = _FLAGS[opcode]
                attributes[which] = attributes[which] | flag if value else attributes[which] & ~flag
        termios.tcsetattr(slave, termios.TCSANOW, attributes)


def resize(master: int, size: Sequence[int]) -> None:
    """Resize a terminal in columns, rows and pixels; its programs get SIGWINCH."""
    columns, rows, width, height = (min(max(value, 0), 0xFFFF) for value in size)
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def own_terminal() -> None:
    """Make standard input the controlling terminal of the new session; called in the child."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
