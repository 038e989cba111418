"""Text of a host for a terminal or a notebook: colours and progress bars pass, all else does nothing.

A terminal obeys what is printed: it can be told to set the clipboard, to make
links, to answer questions into the shell's input, to hide what follows. What
passes here are SGR (colours), carriage return, backspace, erase-line, and
cursor moves within what the same run has printed; the rest is taken out. A
sequence may be cut anywhere by the pieces that text comes in.
"""

from __future__ import annotations

import re

__all__ = ["Escapes", "Hider", "one_line"]

MOST_UP = 500  # lines
LONGEST = 128  # characters of a sequence that is understood; none that passes is longer
LONGEST_STRING = 1 << 20  # characters swallowed for a device control string (a sixel picture) without an end

_PLAIN = bytes([8, 9, 10, 13, *range(0x20, 0x7F)])
_ODD = re.compile("[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_EIGHT_BIT = re.compile("[\x80-\x9f]")
_SEQUENCE = re.compile(
    "\x1b(?:"
    r"\[(?P<args>[0-?]*)(?P<mid>[ -/]*)(?P<final>[@-~])"
    r"|(?P<string>[\]PX^_])"
    r"|[ -/]*[0-OQ-WYZ\\`-~]"
    r"|(?P<open>(?:\[[0-?]*[ -/]*|[ -/]*)\Z)"
    "|)"
    "|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)
_STRING_END = re.compile("\x07|\x1b\\\\|[\x18\x1a]")
_LINE_STRING_END = re.compile("\x07|\x1b\\\\|[\x18\x1a]|(?=\n)")
_COLOUR = re.compile("\x1b\\[[0-9;:]{0,64}m")
_SGR = re.compile(r"[0-9;:]{0,64}\Z")
_MARKS = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


class Escapes:
    """Makes one stream of text safe to print, piece by piece."""

    def __init__(self) -> None:
        self._open = ""  # the beginning of a sequence whose end is to come
        self._in_string = ""  # the letter that opened a string sequence
        self._swallowed = 0
        self._row = 0  # lines below the first that this stream printed
        self._lowest = 0
        self._coloured = False

    def feed(self, text: str) -> str:
        """What may be printed of `text` and of what was held back before."""
        if not self._open and not self._in_string and _is_plain(text):
            return self._newlines(text)
        if not self._open and not self._in_string and self._only_colours(text):
            return self._newlines(text)
        text = self._open + _EIGHT_BIT.sub(_seven_bit, text)
        self._open = ""
        if self._in_string:
            text = self._swallow(text)
        out, at = [], 0
        while at < len(text):
            found = _SEQUENCE.search(text, at)
            if found is None:
                out.append(self._newlines(text[at:]))
                break
            out.append(self._newlines(text[at : found.start()]))
            at = found.end()
            if found["open"] is not None:
                if len(text) - found.start() <= LONGEST:
                    self._open = found[0]
                break
            if found["string"] is not None:
                self._in_string, self._swallowed = found["string"], 0
                text, at = self._swallow(text[at:]), 0
            elif found["final"] is not None and not found["mid"]:
                out.append(self._allowed(found["args"], found["final"]))
        return "".join(out)

    def finish(self) -> str:
        """What to print at the end, so that nothing stays coloured."""
        self._open = self._in_string = ""
        return "\x1b[0m" if self._coloured else ""

    def _only_colours(self, text: str) -> bool:
        """Whether nothing but colours is in the way; by far the most of what has escapes at all."""
        if not _is_plain(_COLOUR.sub("", text)):
            return False
        last = text.rfind("\x1b[")
        self._coloured = text[last + 2 : text.index("m", last)].strip("0;") != ""
        return True

    def _newlines(self, text: str) -> str:
        self._row += text.count("\n")
        self._lowest = max(self._lowest, self._row)
        return text

    def _swallow(self, text: str) -> str:
        """Take the string sequence out of the beginning of `text`."""
        end = (_STRING_END if self._in_string == "P" else _LINE_STRING_END).search(text)
        if end is not None:
            self._in_string = ""
            return text[end.end() :]
        self._swallowed += len(text)
        if self._swallowed > LONGEST_STRING:
            self._in_string = ""
        elif text.endswith("\x1b"):  # perhaps the first half of its end
            self._open = "\x1b"
        return ""

    def _allowed(self, args: str, final: str) -> str:
        if final == "m":
            if not _SGR.match(args):
                return ""
            self._coloured = args.strip("0;") != ""
            return f"\x1b[{args}m"
        if final == "K" and args in ("", "0", "1", "2"):
            return f"\x1b[{args}K"
        if final not in "ABCDG" or len(args) > 4 or not (args.isascii() and (args.isdigit() or not args)):
            return ""
        count = max(int(args or "1"), 1)
        if final == "A":
            count = min(count, self._row, MOST_UP)
            self._row -= count
        elif final == "B":
            count = min(count, self._lowest - self._row)
            self._row += count
        return f"\x1b[{count}{final}" if count else ""


class Hider:
    """Takes secrets out of one stream of text, also where a piece ends within one.

    Parameters
    ----------
    values
        What must not be seen.
    """

    def __init__(self, values: list[str]) -> None:
        self.values = sorted((value for value in values if value), key=len, reverse=True)
        self._held = ""

    def feed(self, text: str) -> str:
        """`text` with ``****`` for each secret; what may be the beginning of one is held back."""
        if not self.values:
            return text
        text = self.whole(self._held + text)
        keep = max((_overlap(text, value) for value in self.values), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def whole(self, text: str) -> str:
        """`text` with ``****`` for each secret in it."""
        for value in self.values:
            text = text.replace(value, "****")
        return text

    def finish(self) -> str:
        """What was held back and is no secret."""
        held, self._held = self._held, ""
        return held


def one_line(text: object, limit: int) -> str:
    """`text` as one line without terminal codes and marks that hide or reorder, at most `limit` long."""
    found = Escapes().feed(str(text)[: 4 * limit])
    found = _MARKS.sub("", re.sub("\x1b\\[[0-9;:]*[A-Za-z]", "", found))
    found = " ".join(found.replace("\x08", "").split())
    return found if len(found) <= limit else f"{found[: limit - 1]}…"


def _is_plain(text: str) -> bool:
    if text.isascii():  # by far the most, and quick
        return not text.encode("ascii").translate(None, _PLAIN)
    return _ODD.search(text) is None


def _seven_bit(found: re.Match[str]) -> str:
    """An eight-bit control as the two characters that mean the same."""
    return f"\x1b{chr(ord(found[0]) - 0x40)}"


def _overlap(text: str, value: str) -> int:
    """How many of the last characters of `text` are the first of `value`."""
    for size in range(min(len(text), len(value) - 1), 0, -1):
        if text.endswith(value[:size]):
            return size
    return 0
