"""What people and programs send wrongly: refused by field, value and rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpunb.errors import BadInput
from gpunb.server import bodies

RENT = {"offer": "vast/on-demand/7", "hours": 1.0}

BAD: list[tuple[type[bodies.Body], dict[str, Any], tuple[str, ...]]] = [
    (bodies.Rent, {"hours": 1.0}, ("offer", "missing")),
    (bodies.Rent, {**RENT, "hours": "2h"}, ("hours", "'2h'", "number")),
    (bodies.Rent, {**RENT, "hours": 0}, ("hours", "0", "greater than 0")),
    (bodies.Rent, {**RENT, "hours": -1.0}, ("hours", "-1.0", "greater than 0")),
    (bodies.Rent, {**RENT, "hours": 1e9}, ("hours", "1000000000.0", "8784")),
    (bodies.Rent, {**RENT, "hours": True}, ("hours", "True", "number")),
    (bodies.Rent, {**RENT, "hours": float("nan")}, ("hours", "nan", "finite")),
    (bodies.Rent, {**RENT, "hours": float("inf")}, ("hours", "inf", "finite")),
    (bodies.Rent, {**RENT, "idle_s": 5.0}, ("idle_s", "5.0", "60")),
    (bodies.Rent, {**RENT, "budget_usd": -2}, ("budget_usd", "-2", "greater than 0")),
    (bodies.Rent, {**RENT, "disk_gb": -1}, ("disk_gb", "-1", "0")),
    (bodies.Rent, {**RENT, "name": "x" * 65}, ("name", "64")),
    (bodies.Rent, {**RENT, "offer": 7}, ("offer", "7", "string")),
    (bodies.Rent, {**RENT, "price": 1}, ("price", "1", "no field", "offer")),
    (bodies.Extend, {"hours": []}, ("hours", "[]", "number")),
    (bodies.Extend, {"budget": 5}, ("budget", "5", "budget_usd")),
    (bodies.Down, {"save": "no"}, ("save", "'no'", "boolean")),
    (bodies.Stop, {"save": True}, ("save", "no field", "none")),
    (bodies.Port, {}, ("port", "missing")),
    (bodies.Port, {"port": 0}, ("port", "0", "1")),
    (bodies.Port, {"port": 65536}, ("port", "65536", "65535")),
    (bodies.Port, {"port": 80.5}, ("port", "80.5", "integer")),
    (bodies.Offers, {"limit": 0}, ("limit", "0", "1")),
    (bodies.Offers, {"clouds": "vast"}, ("clouds", "'vast'", "list")),
    (bodies.Offers, {"clouds": [1]}, ("clouds.0", "1", "string")),
    (bodies.Transfer, {"source": "a"}, ("target", "missing")),
    (bodies.Transfer, {"source": "", "target": ":x"}, ("source", "''", "1")),
    (bodies.SettingsPatch, {"providers": {}}, ("providers", "no field", "clouds")),
    (bodies.SettingsPatch, {"clouds": []}, ("clouds", "[]", "1")),
    (bodies.Empty, {"force": True}, ("force", "no field")),
]


@pytest.mark.parametrize(("model", "given", "words"), BAD)
def test_bad_values_are_named(
    model: type[bodies.Body], given: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(BadInput) as caught:
        bodies.parse(model, given)
    assert caught.value.message.startswith(words[0])
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert caught.value.bill == "nothing was changed"


def test_a_key_is_never_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        bodies.parse(bodies.Login, {"provider": "vast", "key": ["very-secret-key"]})
    assert "secret" not in str(caught.value)
    with pytest.raises(BadInput) as caught:
        bodies.parse(bodies.Stop, {"token": ["very-secret-token"]})
    assert "secret" not in str(caught.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(BadInput) as caught:
        bodies.parse(bodies.Rent, {**RENT, "hours": "x" * 10_000})
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"{", "JSON"),
        (b"[1]", "object"),
        (b"null", "object"),
        (b'"x"', "object"),
        (b"\xff\xfe{}", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b" " * (bodies.BODY_MAX + 1), "at most"),
    ],
)
def test_what_is_no_body(raw: bytes, word: str) -> None:
    with pytest.raises(BadInput, match=word) as caught:
        bodies.read(raw)
    assert caught.value.message.startswith("body: ")


def test_no_body_is_an_empty_one() -> None:
    assert bodies.read(b"") == bodies.read(b"  \n") == {}
    assert bodies.read(json.dumps({"a": 1}).encode()) == {"a": 1}


@pytest.mark.parametrize("given", ["", "-1", "1.5", "x", "0", "1001", "٣", "9" * 30, "1e3", " 5"])
def test_bad_numbers_of_the_query(given: str) -> None:
    with pytest.raises(BadInput) as caught:
        bodies.number("limit", given, default=5, least=1, most=1000)
    assert "limit" in caught.value.message
    assert "from 1 to 1000" in caught.value.message


def test_good_numbers_and_words_of_the_query() -> None:
    assert bodies.number("limit", None, default=5, least=1, most=1000) == 5
    assert bodies.number("limit", "1000", default=5, least=1, most=1000) == 1000
    assert bodies.word("by", None, ("session", "day")) == "session"
    assert bodies.word("by", "day", ("session", "day")) == "day"
    with pytest.raises(BadInput, match="by: 'week': must be one of session, day"):
        bodies.word("by", "week", ("session", "day"))


def test_arguments_leave_the_token_and_nothing_out() -> None:
    body = bodies.parse(bodies.Rent, {**RENT, "idle_s": None, "token": "t"})
    assert body.arguments() == RENT
