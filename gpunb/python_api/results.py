"""What calls give back: a cell's output, a command's, a forwarded port."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.errors import JobFailed

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from gpunb.sessions.access.ports import Held

__all__ = ["CellResult", "Completed", "Forward"]


@dataclass(frozen=True, slots=True)
class CellResult:
    """The output of a cell.

    Attributes
    ----------
    run
        The run's id, for ``gpunb logs``.
    outputs
        All outputs in the form of a notebook's file (nbformat), every MIME type that the host's trust lets
        through.
    """

    run: str
    outputs: list[dict[str, Any]] = field(repr=False)

    @property
    def stdout(self) -> str:
        """All that was printed."""
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        """All that was printed on stderr."""
        return self._stream("stderr")

    @property
    def text(self) -> str:
        """What a terminal would show: printed text, and the text form of displays and of the last value."""
        return "".join(_text(output) for output in self.outputs)

    def _stream(self, name: str) -> str:
        return "".join(
            output["text"]
            for output in self.outputs
            if output["output_type"] == "stream" and output["name"] == name
        )

    def __str__(self) -> str:
        return self.text


def _text(output: dict[str, Any]) -> str:
    kind = output["output_type"]
    if kind == "stream":
        return str(output["text"])
    if kind == "error":
        return "\n".join(output["traceback"]) + "\n"
    plain = output["data"].get("text/plain", "")
    return f"{plain}\n" if plain else ""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended: its exit code and its output, as bytes came, decoded as UTF-8."""

    returncode: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)

    def check(self) -> Completed:
        """Return itself, unless the exit code is not 0.

        Raises
        ------
        JobFailed
            It is; the message has the last lines of stderr.
        """
        if self.returncode:
            last = "; ".join(self.stderr.strip().splitlines()[-3:])
            msg = f"the command ended with exit code {self.returncode}{f': {last}' if last else ''}"
            raise JobFailed(msg, exit_code=self.returncode)
        return self


class Forward:
    """A port of the host that leads to this machine, or the reverse; as a context manager it is closed."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def __repr__(self) -> str:
        return f"<gpunb.Forward {self.url}{'' if self.open else ' closed'}>"

    @property
    def url(self) -> str:
        """The link for a browser here; of a reverse forward, for programs on the host."""
        return self._held.port.link

    @property
    def local_port(self) -> int:
        """The port of this machine."""
        return self._held.port.local_port

    @property
    def open(self) -> bool:
        """Whether it still leads there."""
        return not self._held.ended.is_set()

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
