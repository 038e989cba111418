"""Confirmations: one user, one action, its arguments, one use, a short while."""

from __future__ import annotations

import threading

import pytest

from gpunb.server.failures import ConfirmationNeeded, ConfirmationRefused
from gpunb.services.confirmations import LIFE_S, MOST, Tokens

ARGS = {"session": "s1", "hours": 2.0, "idle_s": None}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(clock)


def test_it_holds_what_was_confirmed_and_is_used_once(tokens: Tokens) -> None:
    token = tokens.issue("ann", "rent", ARGS, holds="the offer")
    assert tokens.use(token, "ann", "rent", {"hours": 2.0, "session": "s1"}) == "the offer"
    with pytest.raises(ConfirmationRefused, match="used up"):
        tokens.use(token, "ann", "rent", ARGS)


@pytest.mark.parametrize("token", [None, ""])
def test_without_one(tokens: Tokens, token: str | None) -> None:
    with pytest.raises(ConfirmationNeeded, match="confirmation token"):
        tokens.use(token, "ann", "down", ARGS)


@pytest.mark.parametrize(
    ("user", "action", "args", "word"),
    [
        ("bob", "extend", ARGS, "another user"),
        ("ann", "down", ARGS, "is for extend"),
        ("ann", "extend", {**ARGS, "hours": 3.0}, "other arguments"),
        ("ann", "extend", {**ARGS, "session": "s2"}, "other arguments"),
        ("ann", "extend", {**ARGS, "budget_usd": 1.0}, "other arguments"),
    ],
)
def test_for_somebody_or_something_else(
    tokens: Tokens, user: str, action: str, args: dict[str, object], word: str
) -> None:
    token = tokens.issue("ann", "extend", ARGS)
    with pytest.raises(ConfirmationRefused, match=word) as caught:
        tokens.use(token, user, action, args)
    assert caught.value.bill == "nothing was changed"


def test_a_wrong_use_uses_it_up_but_not_a_strangers(tokens: Tokens) -> None:
    token = tokens.issue("ann", "down", ARGS)
    with pytest.raises(ConfirmationRefused):
        tokens.use(token, "bob", "down", ARGS)
    tokens.use(token, "ann", "down", ARGS)
    token = tokens.issue("ann", "down", ARGS)
    with pytest.raises(ConfirmationRefused):
        tokens.use(token, "ann", "stop", ARGS)
    with pytest.raises(ConfirmationRefused, match="used up"):
        tokens.use(token, "ann", "down", ARGS)


def test_it_expires(tokens: Tokens, clock: Clock) -> None:
    token = tokens.issue("ann", "down", ARGS)
    clock.now += LIFE_S - 0.1
    tokens.use(token, "ann", "down", ARGS)
    token = tokens.issue("ann", "down", ARGS)
    clock.now += LIFE_S
    with pytest.raises(ConfirmationRefused, match="older"):
        tokens.use(token, "ann", "down", ARGS)


def test_a_guess_is_no_token(tokens: Tokens) -> None:
    tokens.issue("ann", "down", ARGS)
    with pytest.raises(ConfirmationRefused, match="unknown"):
        tokens.use("x" * 32, "ann", "down", ARGS)


def test_of_too_many_the_oldest_goes(tokens: Tokens) -> None:
    first, *_, last = [tokens.issue("ann", "down", ARGS) for _ in range(MOST + 1)]
    with pytest.raises(ConfirmationRefused):
        tokens.use(first, "ann", "down", ARGS)
    tokens.use(last, "ann", "down", ARGS)


def test_of_two_at_once_one_wins(tokens: Tokens) -> None:
    for _ in range(50):
        token = tokens.issue("ann", "down", ARGS)
        won: list[bool] = []
        start = threading.Barrier(2)

        def use(token: str = token, start: threading.Barrier = start, won: list[bool] = won) -> None:
            start.wait()
            try:
                tokens.use(token, "ann", "down", ARGS)
            except ConfirmationRefused:
                won.append(False)
            else:
                won.append(True)

        threads = [threading.Thread(target=use) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, True]
