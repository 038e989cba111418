"""What people and programs send wrongly: refused by field, value and rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpunb.errors import BadInput
from gpunb.server import schemas

RENT = {"offer": "vast/on-demand/7", "hours": 1.0}

BAD: list[tuple[type[schemas.Body], dict[str, Any], tuple[str, ...]]] = [
    (schemas.Rent, {"hours": 1.0}, ("offer", "missing")),
    (schemas.Rent, {**RENT, "hours": "2h"}, ("hours", "'2h'", "number")),
    (schemas.Rent, {**RENT, "hours": 0}, ("hours", "0", "greater than 0")),
    (schemas.Rent, {**RENT, "hours": -1.0}, ("hours", "-1.0", "greater than 0")),
    (schemas.Rent, {**RENT, "hours": 1e9}, ("hours", "1000000000.0", "8784")),
    (schemas.Rent, {**RENT, "hours": True}, ("hours", "True", "number")),
    (schemas.Rent, {**RENT, "hours": float("nan")}, ("hours", "nan", "finite")),
    (schemas.Rent, {**RENT, "hours": float("inf")}, ("hours", "inf", "finite")),
    (schemas.Rent, {**RENT, "idle_s": 5.0}, ("idle_s", "5.0", "60")),
    (schemas.Rent, {**RENT, "budget_usd": -2}, ("budget_usd", "-2", "greater than 0")),
    (schemas.Rent, {**RENT, "disk_gb": -1}, ("disk_gb", "-1", "0")),
    (schemas.Rent, {**RENT, "name": "x" * 65}, ("name", "64")),
    (schemas.Rent, {**RENT, "offer": 7}, ("offer", "7", "string")),
    (schemas.Rent, {**RENT, "price": 1}, ("price", "1", "no field", "offer")),
    (schemas.Extend, {"hours": []}, ("hours", "[]", "number")),
    (schemas.Extend, {"budget": 5}, ("budget", "5", "budget_usd")),
    (schemas.Down, {"save": "no"}, ("save", "'no'", "boolean")),
    (schemas.Stop, {"save": True}, ("save", "no field", "none")),
    (schemas.Port, {}, ("port", "missing")),
    (schemas.Port, {"port": 0}, ("port", "0", "1")),
    (schemas.Port, {"port": 65536}, ("port", "65536", "65535")),
    (schemas.Port, {"port": 80.5}, ("port", "80.5", "integer")),
    (schemas.Offers, {"limit": 0}, ("limit", "0", "1")),
    (schemas.Offers, {"clouds": "vast"}, ("clouds", "'vast'", "list")),
    (schemas.Offers, {"clouds": [1]}, ("clouds.0", "1", "string")),
    (schemas.Transfer, {"source": "a"}, ("target", "missing")),
    (schemas.Transfer, {"source": "", "target": ":x"}, ("source", "''", "1")),
    (schemas.SettingsPatch, {"providers": {}}, ("providers", "no field", "clouds")),
    (schemas.SettingsPatch, {"clouds": []}, ("clouds", "[]", "1")),
    (schemas.Empty, {"force": True}, ("force", "no field")),
]


@pytest.mark.parametrize(("model", "given", "words"), BAD)
def test_bad_values_are_named(
    model: type[schemas.Body], given: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(BadInput) as caught:
        schemas.parse(model, given)
    assert caught.value.message.startswith(words[0])
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert caught.value.bill == "nothing was changed"


def test_a_key_is_never_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        schemas.parse(schemas.Login, {"provider": "vast", "key": ["very-secret-key"]})
    assert "secret" not in str(caught.value)
    with pytest.raises(BadInput) as caught:
        schemas.parse(schemas.Stop, {"token": ["very-secret-token"]})
    assert "secret" not in str(caught.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(BadInput) as caught:
        schemas.parse(schemas.Rent, {**RENT, "hours": "x" * 10_000})
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
        (b" " * (schemas.BODY_MAX + 1), "at most"),
    ],
)
def test_what_is_no_body(raw: bytes, word: str) -> None:
    with pytest.raises(BadInput, match=word) as caught:
        schemas.read(raw)
    assert caught.value.message.startswith("body: ")


def test_no_body_is_an_empty_one() -> None:
    assert schemas.read(b"") == schemas.read(b"  \n") == {}
    assert schemas.read(json.dumps({"a": 1}).encode()) == {"a": 1}


@pytest.mark.parametrize("given", ["", "-1", "1.5", "x", "0", "1001", "٣", "9" * 30, "1e3", " 5"])
def test_bad_numbers_of_the_query(given: str) -> None:
    with pytest.raises(BadInput) as caught:
        schemas.number("limit", given, default=5, least=1, most=1000)
    assert "limit" in caught.value.message
    assert "from 1 to 1000" in caught.value.message


def test_good_numbers_and_words_of_the_query() -> None:
    assert schemas.number("limit", None, default=5, least=1, most=1000) == 5
    assert schemas.number("limit", "1000", default=5, least=1, most=1000) == 1000
    assert schemas.word("by", None, ("session", "day")) == "session"
    assert schemas.word("by", "day", ("session", "day")) == "day"
    with pytest.raises(BadInput, match="by: 'week': must be one of session, day"):
        schemas.word("by", "week", ("session", "day"))


def test_arguments_leave_the_token_and_nothing_out() -> None:
    body = schemas.parse(schemas.Rent, {**RENT, "idle_s": None, "token": "t"})
    assert body.arguments() == RENT
