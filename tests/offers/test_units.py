from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunb.errors import BadInput
from gpunb.offers.language.units import UNITS, parse_quantity, parse_range, show_quantity


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("80", "GB", 80),
        ("80GB", "GB", 80),
        ("80 gib", "GB", 80),
        ("2TB", "GB", 2000),
        ("512MB", "GB", 0.512),
        ("1Gbps", "Mbps", 1000),
        ("500", "Mbps", 500),
        ("100mbit", "Mbps", 100),
        ("$3", "$", 3),
        ("3$", "$", 3),
        ("2.50", "$", 2.5),
        ("3 usd", "$", 3),
        ("$3/h", "$", 3),
        ("3 per hour", "$", 3),
        ("90m", "h", 1.5),
        ("2d", "h", 48),
        ("98%", "ratio", 0.98),
        ("0.98", "ratio", 0.98),
        ("1_000", "", 1000),
        ("1e3", "", 1000),
    ],
)
def test_numbers_as_people_type_them(text, dimension, value):
    assert parse_quantity(text, dimension) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "dimension", "words"),
    [
        ("abc", "GB", "is not a number"),
        ("", "$", "is not a number"),
        ("nan", "$", "is not a number"),
        ("inf", "$", "is not a number"),
        ("80Gbps", "GB", "has the unit 'Gbps'"),
        ("$80", "GB", "has the unit '$'"),
        ("1e999", "$", "too large"),
        ("1" * 190 + "e308", "$", "too large"),
        ("9" * 100_000, "$", "is not a number"),
        ("\u0661\u0662x", "", "unit"),
    ],
)
def test_what_is_no_number_is_named(text, dimension, words):
    with pytest.raises(BadInput, match=words.replace("$", r"\$")) as caught:
        parse_quantity(text, dimension, name="--flag")
    assert caught.value.message.startswith("--flag: ")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("text", "ends"), [("2..4", (2, 4)), ("2..", (2, None)), ("..4", (None, 4)), ("4", (4, 4))]
)
def test_ranges(text, ends):
    assert parse_range(text, "") == ends


@pytest.mark.parametrize("text", ["..", "4..2", "a..b", "1..2..3"])
def test_bad_ranges(text):
    with pytest.raises(BadInput, match=r"^--gpus: "):
        parse_range(text, "", name="--gpus")


@given(st.text(max_size=40), st.sampled_from(sorted(UNITS)))
def test_any_text_is_a_finite_number_or_bad_input(text, dimension):
    try:
        value = parse_quantity(text, dimension)
    except BadInput:
        return
    assert value - value == 0
    assert show_quantity(value, dimension)


def test_money_and_time_for_people():
    assert show_quantity(3.2, "$") == "$3.20"
    assert show_quantity(0.08, "$") == "$0.08"
    assert show_quantity(0.0123, "$") == "$0.0123"
    assert show_quantity(160, "s") == "2.7 min"
    assert show_quantity(45, "s") == "45 s"
    assert show_quantity(float("nan"), "GB") == "?"
    assert show_quantity(0.985, "ratio") == "98.5 %"
