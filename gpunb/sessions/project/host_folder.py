"""A project's folder on the host, through the agent. Each answer is a stranger's: it is checked here."""

from __future__ import annotations

import json
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gpunb.errors import Unreachable
from gpunb.hints import typed
from gpunb.remote.answers import checked, odd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpunb.remote import AgentClient
    from gpunb.remote.line import Call

__all__ = ["PIECE", "Changes", "HostFile", "HostFolder"]

PIECE = 4 << 20
INLINE = 1 << 20
"""Bytes of small files that come with the list of changes."""

MOST = 200_000
"""Entries that a host's folder may hold; beyond, nothing comes back by itself."""

_LONGEST = 64 << 20  # bytes of a listing
_WAIT_S = 300.0
_AHEAD = 4
_SKIP = (
    "__pycache__", ".ipynb_checkpoints", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache",
    ".hypothesis", ".tox", ".nox",
)  # fmt: skip


class HostFile(NamedTuple):
    """An entry of the host's folder: ``kind`` is "f", "l" (link), "d" or "s" (special)."""

    path: str
    kind: str
    size: int
    mtime: int
    mode: int

    @property
    def state(self) -> tuple[int, int]:
        """Size and mtime in ns: what the two sides compare."""
        return self.size, self.mtime


@dataclass(slots=True)
class Changes:
    """What changed in the folder since the last question.

    Attributes
    ----------
    there
        Whether the folder exists.
    many
        Whether it holds more than `MOST` entries, and was not listed.
    whole
        Whether `changed` is all that there is.
    contents
        Of small files, by path.
    """

    there: bool = True
    many: bool = False
    whole: bool = False
    number: int = 0
    changed: list[HostFile] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)


class HostFolder:
    """The folder `place` on the host of `client`; `token` names who asks."""

    def __init__(self, client: AgentClient, place: str, token: str) -> None:
        self.client, self.place, self.token = client, place, token

    def changes(self, number: int) -> Changes:
        """Ask what changed since the answer that had `number`: one round trip.

        Raises
        ------
        Unreachable, ProtocolError
        """
        call = self.client.begin(
            "folder_changes",
            path=self.place, token=self.token, number=number, most=MOST, inline=INLINE, skip=_SKIP,
        )  # fmt: skip
        answer = self._answer("folder_changes", call)
        result = Changes(bool(answer.get("there")), bool(answer.get("many")), bool(answer.get("whole")))
        if not result.there or result.many:
            return result
        result.number = answer.get("number", 0)
        parts = answer.get("parts") or []
        try:
            unpacker = zlib.decompressobj()
            listing = json.loads(unpacker.decompress(parts[0], _LONGEST))
            result.changed = [HostFile(*entry) for entry in listing["changed"][: MOST + 1]]
            result.gone = [path for path in listing["gone"] if isinstance(path, str)]
            inline = [result.changed[n] for n in listing["inline"]]
            fine = all(map(_is_entry, result.changed))
            content = {one.path: bytes(part) for one, part in zip(inline, parts[1:], strict=True)}
        except (ValueError, KeyError, IndexError, TypeError, zlib.error) as err:
            raise odd(self.client.name, "'folder_changes' with a listing that can't be read") from err
        if not fine or any(len(content.get(one.path, b"")) not in (0, one.size) for one in inline):
            raise odd(self.client.name, "'folder_changes' with entries that are none")
        result.contents = {
            one.path: content[one.path] for one in inline if len(content[one.path]) == one.size
        }
        return result

    def pieces(self, file: HostFile) -> Iterator[bytes]:
        """Yield the content of a file in pieces; the next ones are asked for ahead.

        Raises
        ------
        OSError
            The host has another file by now, or can't read it.
        """
        starts = list(range(0, file.size, PIECE))
        asked: deque[Call] = deque()
        ahead = iter(starts)
        for start in starts:
            while len(asked) < _AHEAD and (at := next(ahead, None)) is not None:
                want = [file.path, at, min(PIECE, file.size - at), file.size, file.mtime]
                asked.append(self.client.begin("folder_read", path=self.place, files=[want]))
            answer = self._answer("folder_read", asked.popleft())
            why, parts = answer.get("why") or [], answer.get("parts") or []
            if why and why[0]:
                raise OSError(str(why[0])[:200])
            piece = bytes(parts[0]) if parts else b""
            if len(piece) != min(PIECE, file.size - start):
                msg = "the host sent another number of bytes than it listed"
                raise OSError(msg)
            yield piece

    def write(
        self, files: Sequence[tuple[str, int, int, tuple[int, int] | None]], contents: Sequence[bytes],
        *, folders: Sequence[str] = (), gone: Sequence[tuple[str, int, int]] = (),
    ) -> list[Any] | None:  # fmt: skip
        """Write small files in one round trip; None if the folder is gone.

        Parameters
        ----------
        files
            Path, permission bits, mtime in ns, and the size and mtime of the file that may be replaced
            (None: there is none).
        gone
            Path, size and mtime of what is deleted there, if it is still that file.

        Returns
        -------
        list
            For each file: its (size, mtime) there now; None if another one is there, which stays; or
            the reason why it was not written.
        """
        call = self.client.begin(
            "folder_write", contents,
            path=self.place, token=self.token, files=files, folders=folders, gone=gone,
        )  # fmt: skip
        answer = self._answer("folder_write", call)
        if not answer.get("there"):
            return None
        try:
            done = json.loads(bytes((answer.get("parts") or [b""])[0]))
        except ValueError:
            done = None
        if not isinstance(done, list) or len(done) != len(files):
            raise odd(self.client.name, "'folder_write' with results of other files")
        return [_written(one) for one in done]

    def _answer(self, op: str, call: Call) -> dict[str, Any]:
        if not call.done.wait(_WAIT_S):
            msg = f"{self.client.name} did not answer {op!r} within {_WAIT_S:.0f} s"
            raise Unreachable(msg, hint=typed("doctor") + " checks the way there")
        if call.error is not None:
            raise call.error
        return checked(op, call.answer, self.client.name)


def _is_entry(one: Sequence[Any]) -> bool:
    """Whether the host's entry has the types of a `HostFile`."""
    texts, numbers = one[:2], one[2:]
    return all(isinstance(text, str) for text in texts) and all(
        type(number) is int and 0 <= number < 2**63 for number in numbers
    )


def _written(one: Any) -> tuple[int, int] | str | None:
    """The result of writing one file, as `HostFolder.write` returns it."""
    if one is None:
        return None
    if isinstance(one, list) and len(one) == 2 and all(type(number) is int for number in one):
        return one[0], one[1]
    return str(one)[:200]
