"""What a host prints, reduced to colours and progress bars."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.output.sanitize.redaction import Escapes, SecretRedactor
from gpunb.text import one_line


def cleaned(*pieces: str) -> str:
    escapes = Escapes()
    return "".join(escapes.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[38;5;12mx", "\x1b[38;5;12mx"),
        ("10%\r20%\r", "10%\r20%\r"),
        ("a\n\x1b[1A\x1b[2Kb", "a\n\x1b[1A\x1b[2Kb"),
        # to what was there before the run: not above its own first line
        ("\x1b[5Aover", "over"),
        ("one\n\x1b[99Aover", "one\n\x1b[1Aover"),
        ("\x1b[99999999A", ""),
        # clipboard, title, links, notifications
        ("\x1b]52;c;ZXZpbA==\x07x", "x"),
        ("\x1b]0;title\x1b\\x", "x"),
        ("\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]1337;File=name=x:AAAA\x07x", "x"),
        ("\x1b]777;notify;a;b\x07", ""),
        # what a terminal answers into the shell's input
        ("\x1b[6n\x1b[c\x1b[>c\x1b[5n\x1b[?6n\x1b[21t\x1bZ", ""),
        ('\x1bP$q"p\x1b\\x', "x"),
        ("\x1bP+q544e\x1b\\x", "x"),
        # modes, screens, keys
        ("\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?2004h", ""),
        ("\x1bc\x1b[2J\x1b[H\x1b[3J\x1b[1;1H\x1b[4;1r", ""),
        ("\x1b(0x\x0ey\x0f", "xy"),
        ("bell\x07null\x00del\x7fff\x0c", "bellnulldelff"),
        # eight-bit forms
        ("\x9b31mred\x9b6n", "\x1b[31mred"),
        ("\x9d0;title\x9cx", "x"),
        ("\x90q...\x9cx", "x"),
        # private strings
        ("\x1b_Ga=T;AAAA\x1b\\x\x1b^pm\x1b\\y\x1bXsos\x1b\\z", "xyz"),
        # a string without an end hides no more than its line
        ("\x1b]0;never\nshown", "\nshown"),
        ("\x1b[31\x18mx", "[31mx"),
    ],
)
def test_what_is_left(text: str, shown: str) -> None:
    assert cleaned(text) == shown
    for at in range(1, len(text)):  # cut anywhere
        assert cleaned(text[:at], text[at:]) == shown, at
    assert cleaned(*text) == shown


@given(
    st.lists(
        st.text(alphabet=st.sampled_from("\x1b[]P;0123?mAKhn\\\x07\n\x9b\x9d\x18x é"), max_size=30),
        max_size=8,
    )
)
@settings(max_examples=400, deadline=None)
def test_no_mix_gets_through(pieces: list[str]) -> None:
    text = cleaned(*pieces)
    import re

    left = re.sub(r"\x1b\[(?:[0-9;:]{0,64}m|[012]?K|\d{1,4}[ABCDG])", "", text)
    assert not re.search("[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]", left)
    assert cleaned("".join(pieces)) == text


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]" * 500_000,
        "\x1b[" * 500_000,
        "\x1b[" + "1" * 2_000_000,
        "\x1bP" + "a" * 5_000_000,
        "\x1b" * 10**6,
    ],
)
def test_floods_of_escapes_cost_little(text: str) -> None:
    escapes = Escapes()
    begun = time.process_time()
    for at in range(0, len(text), 65_536):
        escapes.feed(text[at : at + 65_536])
    assert len(escapes._open) <= 256
    assert time.process_time() - begun < 60


def test_colours_do_not_stay() -> None:
    escapes = Escapes()
    escapes.feed("\x1b[31mred")
    assert escapes.finish() == "\x1b[0m"
    escapes.feed("\x1b[0m")
    assert Escapes().finish() == ""


@given(st.lists(st.text(alphabet="abxy ", max_size=6), max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_secret_is_hidden_over_any_cut(pieces: list[str]) -> None:
    whole = "".join(pieces)
    hider = SecretRedactor(["abxab", "xy"])
    shown = "".join(hider.feed(piece) for piece in pieces) + hider.finish()
    assert "abxab" not in shown
    assert "xy" not in shown
    if "xy" not in whole and "abxab" not in whole:
        assert shown == whole


def test_one_line() -> None:
    assert one_line("a\x1b[31mb\x1b]0;t\x07\u202ec\n\td", 80) == "abc d"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
    assert "\x1b" not in one_line("\x1b[1A\x1b[2K\x1b[12345C", 80)
