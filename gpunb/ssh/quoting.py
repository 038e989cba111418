"""Quoting of words into a remote command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpunb.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["quote"]

# zsh looks up what follows "=", fish what follows "%": only these go without quotes
_BARE = re.compile(r"[\w./:,+-]+", re.ASCII)
# What a quoted word may not hold for every login shell: a C shell replaces "!" in quotes too, and takes
# no word of several lines; fish reads a backslash before a quote or a backslash as an escape.
_ODD = re.compile(r"[!\n]|\\[\\']")
_NAMED = str.maketrans({one: f"\\0{ord(one):03o}" for one in "!\n\\'"})
_EVAL = "sh -c 'eval \"$(printf %b \"$1\")\"' sh '{}'"


def quote(argv: Sequence[str]) -> str:
    """Quote `argv` so that the host's login shell runs it word for word.

    Nothing in a word is expanded there: ``$x``, ``*``, ``!x``, quotes, newlines and leading dashes arrive
    as they are, whether that shell is a POSIX one, a C shell or fish. Bytes that are not UTF-8
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
    text = " ".join(one if _BARE.fullmatch(one) else "'" + one.replace("'", "'\"'\"'") + "'" for one in argv)
    return _EVAL.format(text.translate(_NAMED)) if _ODD.search(text) else text
