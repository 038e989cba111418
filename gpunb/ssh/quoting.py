"""The one place where words become a remote command line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from gpunb.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["quote"]


def quote(argv: Sequence[str]) -> str:
    """The POSIX shell text that runs `argv` word for word.

    Nothing in a word is expanded by the remote shell: ``$x``, ``*``, quotes,
    newlines and leading dashes arrive as they are. Bytes that are not UTF-8
    travel as surrogate escapes (`os.fsdecode`) and are restored when sent.

    Raises
    ------
    BadInput
        No words at all, or a word with a NUL, which no argument can hold.
    """
    if not argv:
        msg = "a remote command needs at least one word"
        raise BadInput(msg)
    for word in argv:
        if "\0" in word:
            msg = f"a remote command can't hold a NUL byte: {word!r}"
            raise BadInput(msg)
    return shlex.join(argv)
