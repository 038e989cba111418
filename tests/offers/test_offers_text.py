from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunb.offers.text import clean


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Sweden, SE", "Sweden, SE"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("a\r\nb\tc", "a b c"),
        ("evil\u202etxt", "eviltxt"),
        ("half \ud800 pair", "half pair"),
        ("<b onclick=x>", "<b onclick=x>"),
        ("no\u00a0break", "no break"),
    ],
)
def test_control_characters_and_escapes_go(raw, shown):
    assert clean(raw, 80) == shown


def test_a_megabyte_becomes_a_line():
    shown = clean("x\x1b[1m" * 200_000, 80)
    assert len(shown) == 80
    assert shown.endswith("…")


@given(st.text(alphabet=st.characters(), max_size=200), st.integers(5, 60))
def test_clean_is_printable_bounded_and_stable(raw, limit):
    shown = clean(raw, limit)
    assert len(shown) <= limit
    assert shown == "" or shown.isprintable()
    assert clean(shown, limit) == shown
