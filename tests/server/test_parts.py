"""The small parts: threads, failures in words, the settings file, what hosts tell of their load."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from gpunb import errors, log
from gpunb.server import shown
from gpunb.server.failures import Busy, error_body, status_of
from gpunb.server.handlers.runs import _tidy
from gpunb.server.telemetry import POINTS, series
from gpunb.server.threads import Pool

BOUND_S = 60.0


# -- threads


def test_a_pool_gives_what_came_of_it() -> None:
    async def story() -> None:
        pool = Pool("test", 3)
        assert await asyncio.gather(*(pool.run(pow, 2, n) for n in range(50))) == [2**n for n in range(50)]
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        assert len(pool._threads) <= 3
        pool.close()
        for thread in pool._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive()
        with pytest.raises(Busy):
            await pool.run(int)

    asyncio.run(story())


def test_a_full_pool_refuses() -> None:
    pool = Pool("test", 1, waiting=2)
    hold, begun = threading.Event(), threading.Event()
    assert pool.submit(lambda: (begun.set(), hold.wait(BOUND_S)))
    assert begun.wait(BOUND_S)
    assert pool.submit(int)
    assert pool.submit(int)
    assert not pool.submit(int)
    hold.set()
    pool.close()


# -- failures


@pytest.mark.parametrize(
    ("err", "status", "reason"),
    [
        (errors.BadInput("hours: 0: too few"), 400, "BadInput"),
        (errors.SessionNotFound("none"), 404, "SessionNotFound"),
        (errors.WrongState("stopped"), 409, "WrongState"),
        (errors.NoFunds("empty", provider="vast"), 402, "NoFunds"),
        (errors.OfferGone("gone", provider="vast"), 410, "OfferGone"),
        (errors.RateLimited("slow", provider="vast"), 429, "RateLimited"),
        (errors.AuthFailed("key", provider="vast"), 409, "AuthFailed"),
        (errors.Unavailable("down", provider="vast"), 502, "Unavailable"),
        (errors.Unreachable("away"), 502, "Unreachable"),
        (errors.LedgerDamaged("broken"), 503, "LedgerDamaged"),
        (FileNotFoundError(2, "No such file", "x"), 404, "FileNotFoundError"),
        (IsADirectoryError(21, "Is a directory", "x"), 400, "IsADirectoryError"),
        (KeyError("x"), 500, "InternalError"),
    ],
)
def test_each_failure_has_its_status_and_its_word(err: Exception, status: int, reason: str) -> None:
    assert status_of(err) == status
    body = error_body(err)
    assert set(body) == {"message", "reason", "hint", "bill"}
    assert body["reason"] == reason
    assert json.loads(json.dumps(body)) == body


def test_no_failure_is_401() -> None:
    def below(kind: type) -> list[type]:
        return [kind, *(one for sub in kind.__subclasses__() for one in below(sub))]

    for kind in below(errors.GpunbError):
        made = kind.__new__(kind)
        assert status_of(made) not in {401, 500}, kind


def test_a_failure_hides_keys_and_strangers_marks() -> None:
    log.add_secret("sk-very-secret-123")
    err = errors.Unavailable("\x1b[31mno\x1b[0m sk-very-secret-123\u202e", provider="vast", hint="a\x00b")
    assert error_body(err)["message"] == "no ****"
    assert error_body(err)["hint"] == "ab"


# -- what a run printed


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\tb\nc\r", "a\tb\nc\r"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[2J\x1b[Hx", "x"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;ZXZpbA==\x1b\\x", "x"),
        ("a\x07b\x00c\x9b0md", "abc\x1b[0md"),
        ("x\u202ey\u200bz", "xyz"),
        ("\x1b[31", ""),
        ("\x1b", ""),
        ("<script>", "<script>"),
    ],
)
def test_a_log_keeps_colours_and_nothing_else(given: str, kept: str) -> None:
    found = _tidy(given)
    assert found == kept
    assert "\x1b" not in found.replace("\x1b[1;31m", "").replace("\x1b[0m", "")


# -- load


def test_a_sample_takes_only_what_makes_sense() -> None:
    got = shown.sample(
        {
            "ts": "x",
            "cpu": float("nan"),
            "mem": [1, "2"],
            "disk": None,
            "net": [1, 2, 3],
            "gpus": [{"name": 7}, "x"],
        }
    )
    assert got == {
        "at": 0.0, "cpu": None, "memory": None, "disk": None, "net": None,
        "gpus": [{"name": "7", "util": None, "memory": None, "temp": None, "power": None}],
    }  # fmt: skip
    assert len(shown.sample({"gpus": [{}] * 1000})["gpus"]) == 64
    assert shown.sample({"gpus": "many"})["gpus"] == []


def test_a_series_is_short_and_as_long_for_each_gpu() -> None:
    def row(at: int, gpus: int) -> dict[str, Any]:
        return shown.sample({"ts": at, "cpu": 1, "mem": [1, 4], "gpus": [{"util": at, "mem": [1, 2]}] * gpus})

    got = series("s", [row(at, 1 + (at > 500)) for at in range(1000)])
    assert len(got["at"]) <= POINTS
    assert got["at"][-1] == got["latest"]["at"] == 999
    assert {len(one) for one in (got["cpu"], got["memory"], *got["gpu"], *got["gpu_memory"])} == {
        len(got["at"])
    }
    assert got["gpu"][1][0] is None
    assert got["memory"][0] == 25.0
    assert series("s", [])["latest"] is None
