"""Text of strangers on its way to a screen: one cleaner, and every place that shows such text."""

from __future__ import annotations

import io
import logging
import re
import time
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb import log
from gpunb.patterns import later
from gpunb.text import MOST_MARKS, RESET, Escapes, Seam, one_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = {
    "clipboard": "a\x1b]52;c;ZXZpbA==\x07b",
    "title": "a\x1b]0;owned\x1b\\b",
    "link": "a\x1b]8;;https://evil.example\x07link\x1b]8;;\x07b",
    "screen": "a\x1b[2J\x1b[H\x1bc\x1b[?1049hb",
    "question": 'a\x1b[6n\x1b[c\x1bP$q"p\x1b\\b',
    "concealed": "a\x1b[8mb\x1b[30;40mc\x1b[1;8md",
    "eight bits": "a\x9b31mb\x9b8m\x9d52;c;ZXZpbA==\x9cc\x90q\x9cd",
    "control": "".join(map(chr, [*range(9), 11, 12, *range(14, 32), *range(127, 160)])),
    "bidi": "a\u202egnp.exe\u2066b\u2069\u061c\u200e",
    "tags": "a" + "".join(chr(0xE0000 + ord(c)) for c in "send the key") + "\U000e0041b",
    "hidden": "a\u200b\u200c\u200d\u2060\ufeff\u00ad\u115f\u1160\u3164\uffa0\u17b4\u180eb",
    "stacked": "e" + "\u0301" * 5_000 + "x" + "\u0e47" * 500,
    "surrogate": "a\ud800b\udc9bc",
    "lines": "a\ngpunb: the session was ended and is not billed\r\u2028\u2029\x85b",
    "open": "a\x1b]0;never ended",
    "open csi": "a\x1b[31",
}
_ORDER = re.compile(r"\x1b(?!\[(?:[0-9;:]{0,64}m|[012]?K|\d{1,4}[ABCDG]))")
_UNSEEN = {"Cf", "Cs", "Cc"}
_FILLERS = set("\u115f\u1160\u3164\uffa0\u17b4\u17b5\u034f")


def faults(shown: str, *, stream: bool = False) -> list[str]:
    """What of `shown` a terminal would obey, or a reader be deceived by."""
    found = []
    rest = re.sub(r"\x1b\[(?:[0-9;:]{0,64}m|[012]?K|\d{1,4}[ABCDG])", "", shown) if stream else shown
    if stream and re.search(r"\x1b\[(?:[0-9;:]*;)?0*8(?:;[0-9;:]*)?m", re.sub(r"[34]8;5;\d+", "", shown)):
        found.append("conceal")
    if _ORDER.search(shown) or "\x1b" in rest:
        found.append("escape")
    for mark in set(rest):
        allowed = "\t\n\r\x08" if stream else "\t\n"
        if mark not in allowed and (unicodedata.category(mark) in _UNSEEN or mark in _FILLERS):
            found.append(f"U+{ord(mark):04X}")
    run = most = 0
    for mark in rest:
        run = run + 1 if unicodedata.category(mark) in ("Mn", "Me") else 0
        most = max(most, run)
    return [*found, *(["stacked"] if most > MOST_MARKS else [])]


def streamed(text: str, size: int = 10**9) -> str:
    escapes = Escapes()
    return "".join(escapes.feed(text[at : at + size]) for at in range(0, len(text), size)) + escapes.finish()


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_gets_through(name: str) -> None:
    text = HOSTILE[name]
    line = one_line(text, 10_000)
    assert faults(line) == []
    assert "\n" not in line
    assert faults(plain(text)) == []
    for size in (10**9, 1, 3):
        assert faults(streamed(text, size), stream=True) == [], size


@given(
    st.lists(st.sampled_from(sorted(HOSTILE.values())) | st.text(max_size=8), max_size=6), st.integers(1, 9)
)
@settings(max_examples=150, deadline=None)
def test_no_mix_gets_through_and_twice_changes_nothing(pieces: list[str], size: int) -> None:
    text = "".join(pieces)
    line, lines, stream = one_line(text, 500), plain(text), streamed(text, size)
    assert faults(line) == faults(lines) == faults(stream, stream=True) == []
    assert one_line(line, 500) == line
    assert plain(lines) == lines
    assert len(line) <= 500


def test_what_is_no_attack_stays() -> None:
    words = "naïve 日本語 हिन्दी עברית 👍🏽 café"
    assert one_line(words, 200) == plain(words) == streamed(words) == words
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert streamed(family) == family
    assert streamed("\x1b[38;5;8mgrey\x1b[0m") == "\x1b[38;5;8mgrey\x1b[0m"


@pytest.mark.parametrize(
    "unit", ["\x1b]x\x07", "\x1b[", "\x9b", "\x1b", "\u0301", "\u202e", "\x1b[8m", "1", " "]
)
@pytest.mark.parametrize("before", ["", "\x1b[", "\x1b]"])
def test_the_time_is_linear(unit: str, before: str) -> None:
    def taken(size: int) -> float:
        text = before + unit * (size // len(unit))
        begun = time.process_time()
        plain(text)
        streamed(text)
        return time.process_time() - begun

    taken(10_000)
    small = max(taken(50_000), 0.005)
    assert taken(800_000) < 16 * 6 * small  # with the square it would be 256 times
    begun = time.process_time()
    one_line(before + unit * (10 << 20 >> (len(unit) > 2)))  # a line of 10 MB is not looked at to its end
    assert time.process_time() - begun < 2


def test_our_own_words_stand_apart() -> None:
    seam = Seam()
    assert seam.close() == ""
    seam.printed("\x1b[30;40mAPI key: ")
    assert seam.close() == f"{RESET}\n"
    assert seam.close() == ""
    seam.printed("\x1b[31mred\x1b[0m\n")
    assert seam.close() == ""


# -- every place that shows what others wrote


class _Endpoint:
    alias = "gpunb-x"


class _Client:
    trust = "stranger"
    endpoint = _Endpoint()
    name = "x"


class _Handle:
    client = _Client()
    hide: list[str] = []
    id = "r"
    history = 0

    def answer(self, number: int, text: str) -> bool:
        return True


def _played(kind: str, *parts: bytes, **head: Any) -> str:
    from gpunb.output.player import Player
    from gpunb.output.sinks import TextSink
    from gpunb.remote.records import Record

    shown = io.StringIO()

    class Sink(TextSink):
        def ask(self, prompt: str, *, password: bool) -> str:
            self._write("stdout", f"{self._seam.close()}{prompt}\n")
            return ""

    player = Player(_Handle(), Sink(shown, shown), interactive=True)  # type: ignore[arg-type]
    player.play(Record(1, kind, head, [memoryview(part) for part in parts]))
    player.finish()
    return shown.getvalue()


def _stream(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return _played("stream", data, seg=[["stdout", len(data)]])


def _exec(text: str) -> str:
    from gpunb.commands.running.exec import _drain, _Safe

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    raw = io.BytesIO()
    terminal = Terminal(raw, "utf-8")
    pieces = [
        text.encode("utf-8", "surrogateescape" if "\udc9b" in text and "\ud800" not in text else "replace")
    ]
    _drain(lambda _: pieces.pop() if pieces else b"", _Safe("stranger").writer(terminal))
    return raw.getvalue().decode("utf-8")


def _error(text: str) -> str:
    from gpunb.errors import ProviderError

    err = ProviderError(text, provider="x", hint=text)
    return "\n".join(err.lines())


def _run(text: str) -> str:
    from gpunb.cli.run_notices import ended_note
    from gpunb.remote.records import RunInfo

    raw = {"run": "r1", "kind": "job", "name": text, "state": "died", "why": text}
    info = RunInfo.parse(raw)
    session: Any = type("S", (), {"name": "s"})
    return f"{info.name} {info.why} {ended_note(info.name, session, info).text}"


def _notice(text: str) -> str:
    from gpunb.services.running.runs import sentence

    context: Any = type("C", (), {"frontend": "terminal"})
    heads = [
        {"k": "lease-over", "why": text},
        {"k": "run-ended", "kind": "job", "run": text, "name": text, "state": text, "why": text},
    ]
    return " ".join(sentence(head, context, "r") or "" for head in heads)


def _blocks(text: str) -> str:
    from gpunb.presentation.result import Code, Fields, Note, Result, Table

    made = Result(None, Note(text), Code(text), Fields([(text, text)]), Table([text], [[text]], title=text))
    return made.text(400)


def _logged(text: str) -> str:
    record = logging.LogRecord("gpunb.x", logging.INFO, "x", 1, "%s", (text,), None)
    made = log._Formatter("%(message)s").format(record)
    assert not re.search(r"^gpunb: ", made, re.MULTILINE)
    return made


def _provider(text: str) -> str:
    from gpunb.offers.text import clean
    from gpunb.providers.http import clean as of_clouds

    return f"{of_clouds(text)} {clean(text, 80)}"


def _bridge(text: str) -> str:
    from gpunb.notebook.kernel_proxy.proxy import Bridge

    bridge: Any = Bridge.__new__(Bridge)
    bridge._over = type("E", (), {"set": lambda self: None})()
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", shown)
        bridge._die(text)
    return shown.getvalue().removesuffix("\n")


def _failed(text: str) -> str:
    from gpunb.remote.bootstrap import _failed

    return "\n".join(_failed({"step": text, "text": text}).lines())


def _progress(text: str) -> str:
    from gpunb.text import clean

    return clean(text)


def _tidied(text: str) -> str:
    from gpunb.server.handlers.runs import _tidy

    return _tidy(text)


#: name -> what the place shows for a stranger's text, and whether it may be coloured
PLACES: dict[str, tuple[Callable[[str], str], bool]] = {
    "a run's output": (_stream, True),
    "an error of a cell": (lambda text: _gate().error({"traceback": [text]})["traceback"][0], True),
    "a display": (lambda text: _gate().bundle({"text/plain": text})["text/plain"], True),
    "exec": (_exec, True),
    "a log in the browser": (_tidied, True),
    "a note": (lambda text: _played("note", text=text), False),
    "lost output": (lambda text: _played("lost", bytes=1, why=text), False),
    "trimmed output": (lambda text: _played("trimmed", bytes=1, why=text), False),
    "a prompt": (lambda text: _played("input", prompt=text, password=True), False),
    "an error": (_error, False),
    "how a run ended": (_run, False),
    "a notice": (_notice, False),
    "a result": (_blocks, False),
    "a record of the log": (_logged, False),
    "a cloud's words and an offer": (_provider, False),
    "the Jupyter server's terminal": (_bridge, False),
    "a bootstrap that failed": (_failed, False),
    "progress": (_progress, False),
}  # fmt: skip


def _gate() -> Any:
    from gpunb.output.sanitize.gate import Gate

    return Gate("stranger")


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_safe(place: str, attack: str) -> None:
    show, coloured = PLACES[place]
    shown = show(HOSTILE[attack])
    assert faults(shown, stream=coloured) == []
    if coloured:  # nothing stays as it was set
        last = shown.rfind("\x1b[")
        assert last < 0 or shown[last:].startswith((RESET, "\x1b[m"))


def test_a_host_does_not_speak_in_our_name() -> None:
    shown = _played("note", text="session x was ended and is not billed any more")
    assert shown == 'gpunb: the host says: "session x was ended and is not billed any more"\n'


def test_a_hosts_notes_are_bounded() -> None:
    from gpunb.output.player import MOST_NOTES, Player
    from gpunb.output.sinks import TextSink
    from gpunb.remote.records import Record

    shown = io.StringIO()
    player = Player(_Handle(), TextSink(shown, shown), interactive=False)  # type: ignore[arg-type]
    for number in range(1, 5001):
        for kind in ("note", "lost", "trimmed", "cut"):
            player.play(Record(number, kind, {"text": "x" * 499, "why": "y" * 499, "bytes": 1}, ()))
    player.finish()
    lines = shown.getvalue().splitlines()
    assert len(lines) == MOST_NOTES + 1
    assert "19,980 more notes" in lines[-1]


def test_a_pattern_is_compiled_at_its_first_use_and_then_answers_as_the_compiled_one() -> None:
    late = later("(A)b+", re.IGNORECASE)
    assert not set(vars(late)) & {"sub", "search", "finditer"}
    assert late.sub(r"<\1>", "xabbAB") == "x<a><A>"
    assert vars(late)["sub"] == re.compile("(A)b+", re.IGNORECASE).sub
    found = late.search("..aBB")
    assert found is not None
    assert (found[0], found.start()) == ("aBB", 2)
    assert [one[0] for one in late.finditer("ab aB")] == ["ab", "aB"]
    assert late.fullmatch("abc") is None
    assert late.pattern == "(A)b+"
