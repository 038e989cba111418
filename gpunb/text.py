"""Sanitizing of untrusted text for display, usable by every layer.

Offers, errors of clouds, names, reasons and output are written by strangers.
A terminal obeys what is printed: it can be told to set the clipboard, to make
links, to answer questions into the shell's input, to hide what follows. Unicode
adds marks that reorder, hide or stack. Three ways lead from here to a screen:

`one_line`
    a word or sentence in a table, a message, a log line.
`plain`
    a text of several lines, without colours.
`Escapes`
    a stream of output: SGR colours, carriage return, backspace, erase-line and
    cursor moves within what the same stream has printed pass; no more.

All three take time in proportion to the text, and give the same when applied
twice. `Seam` keeps gpunb's own words apart from a stream's last colours.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from gpunb.patterns import later

__all__ = ["LINE", "RESET", "Escapes", "Seam", "clean", "did_you_mean", "one_line", "plain"]

LINE = 2_000  # characters of one untrusted line, unless the caller gives a lower limit
MOST_MARKS = 8  # combining marks on one letter; no script needs more
RESET = "\x1b[0m"

MOST_UP = 500  # lines
LONGEST = 128  # characters of a sequence that is understood; none that passes is longer
LONGEST_STRING = 1 << 20  # characters swallowed for a device control string (a sixel picture) without an end

# An escape sequence in seven or eight bits, whole or cut off: CSI, a string (OSC, DCS, SOS, PM, APC), others.
# No part can be matched in two ways, so the time is linear.
_SEQUENCE = later(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x18\x1a\x1b\x9c\n]*(?:[\x07\x18\x1a\x9c]|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Controls but tab and newline, and separators.
_BREAKS = later("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]+")
_LONE = later("[\ud800-\udfff]")
# Marks that show nothing, reorder or hide: soft hyphen, joiners, Arabic letter mark, Hangul and Khmer
# fillers, Mongolian selectors, zero-width, bidi, interlinear, shorthand, musical and tag characters.
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_JOINING = "\u200b-\u200f"
_HIGH = later("[^\x00-\xac]+")
_HIDDEN = later(f"[{_UNSEEN}]+")
# In a stream the two joiners stay where they join: in emoji and in scripts that need them.
_HIDDEN_IN_STREAM = later(
    "(?<=[\u0300-\u1fff\u2070-\U0001ffff])[\u200c\u200d](?=[\u0300-\u1fff\u2070-\U0001ffff])"
    f"|([{_UNSEEN.replace(_JOINING, '')}]+|[\u200b-\u200f])"
)

_SEQUENCE_IN_STREAM = later(
    "(?:\x1b+|(?:\x9b|\x1b\\[)+)(?=\x1b|\x9b)"  # a run of unfinished sequences
    "|(?:\x1b\\[|\x9b)(?P<args>[0-?]*)(?P<mid>[ -/]*)(?P<final>[@-~])"
    "|(?:\x1b(?P<string>[\\]PX^_])|(?P<string8>[\x90\x98\x9d-\x9f]))"
    "|\x1b[ -/]*[0-OQ-WYZ\\\\`-~]"
    "|(?P<open>(?:\x1b(?:\\[[0-?]*[ -/]*|[ -/]*)|\x9b[0-?]*[ -/]*)\\Z)"
    "|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x8f\x91-\x97\x99\x9a\x9c]+|[\x1b\x80-\x9f]"
)
_STRING_END = later("[\x07\x18\x1a\x9c]|\x1b\\\\")
_LINE_STRING_END = later("[\x07\x18\x1a\x9c]|\x1b\\\\|(?=\n)")
_ODD_IN_STREAM = later("[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PLAIN_BYTES = bytes([8, 9, 10, 13, *range(0x20, 0x7F)])
_COLOUR = later("\x1b\\[([0-9;:]{0,64})m")
_CONCEAL = later("\x1b\\[[0-9;:]*8[;m]")  # perhaps: `_sgr` looks closer
_SGR = later(r"[0-9;:]{0,64}\Z")


def one_line(text: object, limit: int = LINE) -> str:
    """Clean `text` to one line without terminal codes, hidden marks and floods, at most `limit` characters.

    HTML is not escaped here, but where it is shown in a page. Of a long text only
    a beginning in proportion to `limit` is looked at.
    """
    found = text if isinstance(text, str) else str(text)
    if not (len(found) <= limit and _is_one_line(found)):
        found = found[: 8 * limit + 1024]
        found = " ".join(_cleaned(found, " ").split())
    return found if len(found) <= limit else f"{found[: max(limit - 1, 0)].rstrip()}…"


def plain(text: object, limit: int | None = None) -> str:
    """Clean `text` of terminal codes, hidden marks and floods, keeping lines and tabs; cut after `limit`."""
    found = text if isinstance(text, str) else str(text)
    if limit is not None and len(found) > limit:
        found = f"{found[:limit]}… ({len(found) - limit:,} characters more)"
    if found.isascii() and found.isprintable():
        return found
    return _cleaned(found.replace("\r\n", "\n"), "")


def _is_one_line(text: str) -> bool:
    if not text.isprintable() or "  " in text or text != text.strip():
        return False
    return text.isascii() or (_HIDDEN.search(text) is None and _flood(text) == text)


def _cleaned(text: str, space: str) -> str:
    """Remove sequences and hidden marks; `space` replaces each control or separator."""
    text = _BREAKS.sub(space, _SEQUENCE.sub("", text))
    if text.isascii():
        return text
    text = _flood(_HIDDEN.sub("", text))
    if text.isprintable():
        return text
    # the rest are lines, tabs, unusual spaces, and code points without a character
    return "".join(
        mark if mark.isprintable() or mark in "\t\n" else " " if mark.isspace() else "" for mark in text
    )


@cache
def _marks() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Patterns for floods of combining marks, the marks at the start of a text, and one mark."""
    ranges: list[str] = []
    begin = last = -1
    for point in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0), -1):
        if point >= 0 and unicodedata.category(chr(point)) in ("Mn", "Me"):
            if point != last + 1:
                begin, last = point, point
            last = point
            continue
        if last >= 0 and begin >= 0:
            ranges.append(f"{chr(begin)}-{chr(last)}")
        begin = last = -1
    some = f"[{''.join(ranges)}]"
    return re.compile(f"({some}{{{MOST_MARKS}}}){some}+"), re.compile(f"{some}*"), re.compile(some)


def _high(text: str) -> str:
    """The characters of `text` that need the slow check; most texts have few."""
    return "".join(_HIGH.findall(text))


def _flood(text: str) -> str:
    if text.isascii() or _marks()[2].search(_high(text)) is None:
        return text
    return _marks()[0].sub(r"\1", text)


class Escapes:
    """A filter that makes a stream of text safe to print; a piece may end within a sequence."""

    def __init__(self) -> None:
        self._open = ""  # the beginning of a sequence whose end is to come
        self._in_string = ""  # the letter that opened a string sequence
        self._swallowed = 0
        self._row = 0  # lines below the first that this stream printed
        self._lowest = 0
        self._coloured = False
        self._stacked = 0  # combining marks at the end of the last piece

    def feed(self, text: str) -> str:
        """Filter `text` and text held back before; returns what may be printed."""
        if not self._open and not self._in_string and (_is_plain(text) or self._only_colours(text)):
            return self._printed(text)
        text = self._open + text
        self._open = ""
        at, out = self._swallow(text, 0) if self._in_string else 0, []
        while at < len(text):
            found = _SEQUENCE_IN_STREAM.search(text, at)
            if found is None:
                out.append(self._printed(text[at:]))
                break
            if found.start() > at:
                out.append(self._printed(text[at : found.start()]))
            at = found.end()
            if found["open"] is not None:
                if len(text) - found.start() <= LONGEST:
                    self._open = found[0]
                break
            string = found["string"] or found["string8"]
            if string is not None:
                self._in_string, self._swallowed = "P" if string == "\x90" else string, 0
                at = self._swallow(text, at)
            elif found["final"] is not None and not found["mid"]:
                out.append(self._allowed(found["args"], found["final"]))
        return "".join(out)

    def finish(self) -> str:
        """The text to print at the end, so that nothing stays coloured or hidden."""
        self._open = self._in_string = ""
        coloured, self._coloured = self._coloured, False
        return RESET if coloured else ""

    def _only_colours(self, text: str) -> bool:
        """Whether `text` has no escapes but colours, by far the commonest case."""
        if "\x1b[" not in text or _CONCEAL.search(text) or not _is_plain(_COLOUR.sub("", text)):
            return False
        for found in _COLOUR.finditer(text, text.rfind("\x1b[")):
            self._coloured = _sgr(found[1])[1]
        return True

    def _printed(self, text: str) -> str:
        if not text.isascii():
            text = self._seen(text)
        elif text:
            self._stacked = 0
        self._row += text.count("\n")
        self._lowest = max(self._lowest, self._row)
        return text

    def _seen(self, text: str) -> str:
        """Remove hidden marks, lone surrogates and floods of combining marks from `text`."""
        if _HIDDEN.search(_high(text)) is not None:
            text = _HIDDEN_IN_STREAM.sub(lambda found: "" if found[1] else found[0], text)
        text = _LONE.sub("\ufffd", text.replace("\u2028", "\n").replace("\u2029", "\n"))
        first = _marks()[1].match(text)
        begun = first.end() if first is not None else 0
        if begun:  # they go on a letter of the last piece
            text = text[: min(begun, max(MOST_MARKS - self._stacked, 0))] + text[begun:]
        text = _flood(text)
        tail = 0
        while tail < min(len(text), MOST_MARKS) and unicodedata.category(text[-1 - tail]) in ("Mn", "Me"):
            tail += 1
        self._stacked = self._stacked + tail if tail == len(text) else tail
        return text

    def _swallow(self, text: str, at: int) -> int:
        """The index in `text` after the string sequence that continues at `at`."""
        end = (_STRING_END if self._in_string == "P" else _LINE_STRING_END).search(text, at)
        if end is not None:
            self._in_string = ""
            return end.end()
        self._swallowed += len(text) - at
        if self._swallowed > LONGEST_STRING:
            self._in_string = ""
        elif text.endswith("\x1b"):  # perhaps the first half of its end
            self._open = "\x1b"
        return len(text)

    def _allowed(self, args: str, final: str) -> str:
        if final == "m":
            if not _SGR.match(args):
                return ""
            kept, self._coloured = _sgr(args)
            return f"\x1b[{kept}m" if kept or not args else ""
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


def _sgr(args: str) -> tuple[str, bool]:
    """Remove "conceal" from SGR parameters; also returns whether they leave anything set."""
    kept: list[str] = []
    left, coloured = 0, True
    words = args.split(";")
    for number, word in enumerate(words):
        if left:  # part of a colour: 38;5;N or 38;2;R;G;B
            left -= 1
        elif word in ("38", "48", "58"):
            kind = words[number + 1] if number + 1 < len(words) else ""
            left, coloured = {"5": 2, "2": 4}.get(kind, 0), True
        elif word.lstrip("0") == "8":
            continue
        else:
            coloured = word.strip("0") != ""
        kept.append(word)
    return ";".join(kept), coloured


def _is_plain(text: str) -> bool:
    if text.isascii():  # the commonest case, and fast
        return not text.encode("ascii").translate(None, _PLAIN_BYTES)
    return _ODD_IN_STREAM.search(text) is None


class Seam:
    """The boundary between a host's output and gpunb's own messages on one screen.

    A host's last output may leave a colour that hides what follows, or an unfinished
    line that gpunb's message would seem to continue.
    """

    def __init__(self) -> None:
        self._coloured = False
        self._within_line = False

    def printed(self, text: str) -> None:
        """Record that a host's text was printed."""
        if text:
            at = text.rfind("\x1b[")
            if at >= 0:
                self._coloured = not text.startswith((RESET, "\x1b[m"), at)
            seen = _COLOUR.sub("", text[-200:])
            self._within_line = not seen.endswith("\n") if seen else self._within_line

    def close(self) -> str:
        """The text to write before gpunb's own message."""
        result = (RESET if self._coloured else "") + ("\n" if self._within_line else "")
        self._coloured = self._within_line = False
        return result


def clean(text: object, *, lines: bool = False) -> str:
    """Clean `text` of terminal codes and hidden marks; one line unless `lines`."""
    if lines:
        return plain(text)
    given = str(text)
    out = one_line(given, LINE)
    more = len(given) - LINE
    return f"{out} ({more} characters more)" if more > 0 and out.endswith("…") else out


def did_you_mean(word: str, known: list[str], *, cutoff: float = 0.5) -> str | None:
    """A hint that names the nearest of `known`, or None."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=2, cutoff=cutoff)
    if not close and len(word) > 1 and cutoff <= 0.5:
        close = [name for name in known if name.startswith(word)][:2]
    return f"did you mean {' or '.join(close)}?" if close else None
