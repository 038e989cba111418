"""stdout and stderr of the kernel, handed on in pieces that fit in memory."""

from __future__ import annotations

from typing import Any

from ipykernel.iostream import OutStream

PIECE = 1 << 20  # characters


class SteadyStream(OutStream):
    """An OutStream that sends what it holds at the latest after a megabyte.

    ipykernel collects for 0.2 s, whatever comes: a cell that prints a gigabyte
    in that time would make one message of it, in every process on the way.
    """

    _held = 0

    def write(self, string: Any) -> Any:
        """Write `string`, and wait for the sending of every full megabyte.

        Returns and raises what ipykernel's own does, which is not the same in all its versions.
        """
        size = len(string) if isinstance(string, str) else 0
        self._held += size
        if self._held <= PIECE:
            return super().write(string)
        for at in range(0, size, PIECE):
            super().write(string[at : at + PIECE])
            self.flush()  # type: ignore[no-untyped-call]
        self._held = 0
        return size
