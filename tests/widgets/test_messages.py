"""The checks that stand between a page and money: fields, tokens, cuts. No browser, no kernel."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pytest
from support.rentals.offers import offer_rows

from gpunb.cli.progress import NotebookDisplay
from gpunb.errors import BadInput, WrongState
from gpunb.notebook.widgets import confirm, fallback, messages, searching, telemetry
from gpunb.notebook.widgets.messages import Flag, Names, Number, Text

KINDS: dict[str, dict[str, messages.Rule]] = {
    "go": {"name": Text(5), "hours": Number(0, 10), "why": Text(5, optional=True), "sure": Flag()},
    "look": {"sessions": Names(2)},
}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([], "must be an object"),
        ({}, "kind None must be one of go, look"),
        ({"kind": ["go"]}, "must be one of"),
        ({"kind": "go", "name": "", "hours": 1}, "name '' must not be empty"),
        ({"kind": "go", "name": "sixsix", "hours": 1}, "name 'sixsix' must have at most 5"),
        ({"kind": "go", "name": 5, "hours": 1}, "name 5 must be text"),
        ({"kind": "go", "name": "a", "hours": math.nan}, "hours nan must be a number above 0 and at most 10"),
        ({"kind": "go", "name": "a", "hours": math.inf}, "hours inf must"),
        ({"kind": "go", "name": "a", "hours": 0}, "hours 0 must"),
        ({"kind": "go", "name": "a", "hours": 1, "sure": "yes"}, "sure 'yes' must be true or false"),
        ({"kind": "go", "name": "a", "hours": 1, "token": "x"}, "there is no field 'token'"),
        ({"kind": "look", "sessions": ["a", "b", "c"]}, "at most 2 short texts"),
        ({"kind": "look", "sessions": [{"a": 1}]}, "at most 2 short texts"),
        ({"kind": "look", "sessions": "ab"}, "at most 2 short texts"),
    ],
)
def test_what_is_refused(content: Any, rule: str) -> None:
    with pytest.raises(BadInput) as caught:
        messages.read(content, KINDS)
    assert rule in caught.value.message


def test_what_is_read() -> None:
    kind, fields = messages.read({"kind": "go", "id": 3, "name": "a", "hours": 2}, KINDS)
    assert (kind, fields) == ("go", {"name": "a", "hours": 2, "why": None, "sure": None})


def test_a_secret_is_not_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        messages.read({"kind": "login", "key": "k" * 50}, {"login": {"key": Text(10, secret=True)}})
    assert "kkk" not in caught.value.message


def test_a_confirmation_is_for_one_thing_once_and_not_for_long() -> None:
    now = [100.0]
    asked = confirm.Confirmations(lambda: now[0])
    args = {"offer": "a", "hours": 2.0}
    token = asked.ask("rent", args)
    asked.take(token, "rent", dict(args))
    for said in ("never asked", "answered already"):
        with pytest.raises(WrongState, match=said):
            asked.take(token, "rent", args)
    for action, changed in [("down", args), ("rent", {**args, "hours": 3.0}), ("rent", {"offer": "a"})]:
        token = asked.ask("rent", args)
        with pytest.raises(WrongState, match="something else"):
            asked.take(token, action, changed)
        with pytest.raises(WrongState):  # it is used up all the same
            asked.take(token, "rent", args)
    token = asked.ask("rent", args)
    now[0] += confirm.EXPIRES_S + 1
    with pytest.raises(WrongState, match="too long ago"):
        asked.take(token, "rent", args)


def test_questions_that_nobody_answers_do_not_pile_up() -> None:
    asked = confirm.Confirmations()
    first = asked.ask("rent", {})
    for _ in range(confirm.MOST):
        last = asked.ask("rent", {})
    with pytest.raises(WrongState):
        asked.take(first, "rent", {})
    asked.take(last, "rent", {})


@pytest.mark.parametrize("zipped", [True, False])
def test_rows_are_sent_in_parts_that_a_server_lets_through(zipped: bool) -> None:
    rows = offer_rows(10_000)
    parts = list(searching.packed(rows, zipped=zipped))
    assert max(map(len, parts)) < 500_000
    assert sum(map(len, parts)) < (2_000_000 if zipped else 10_000_000)
    whole = [one for part in parts for one in json.loads(gzip.decompress(part) if zipped else part)]
    assert whole == rows
    assert list(searching.packed([], zipped=False)) == [b"[]"]


def test_the_static_picture_is_escaped() -> None:
    rows = offer_rows(30)
    rows[0] |= {"gpu": "<script>alert(1)</script>", "region": "<b>"}
    failed = [{"provider": "vast", "message": "<img src=x>", "hint": "<i>", "login": True}]
    html = fallback.offers(searching.Found(hours=2, rows=rows, failed=failed)).html()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert "10 more" in html
    assert "asking the clouds" in fallback.offers(None).html()


def test_a_hosts_figures_are_a_strangers() -> None:
    samples: list[Any] = [
        {"ts": 1, "gpus": [{"i": 0, "util": 50, "mem": [1, 4]}]},
        "nonsense",
        {"ts": "x", "gpus": "none"},
        {"ts": 2, "gpus": [{"i": 0, "util": 1e30, "mem": [1, 0]}, "x"]},
        {"ts": 3, "gpus": [{"i": 0, "util": True, "mem": "all"}]},
    ]
    assert telemetry.series(samples) == {
        "at": [1.0, None, 2.0, 3.0],
        "gpu": [[50.0, None, None, None]],
        "memory": [[25.0, None, None, None]],
    }
    assert telemetry.series([]) == {"at": [], "gpu": [], "memory": []}
    assert len(telemetry.series([{"gpus": [{"i": n} for n in range(1000)]}])["gpu"]) == 16


def test_progress_in_a_notebook_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("gpunb.cli.progress.time.monotonic", lambda: now[0])
    shown = NotebookDisplay("sync <b>")
    shown.say("sending")
    shown.advance(0, 100e6, "B")
    assert "B/s" not in shown._html()
    now[0] += 2
    shown.advance(20e6, 100e6, "B")
    html = shown._html()
    assert "10 MB/s" in html.replace("10.0", "10")
    assert "8s left" in html
    assert 'role="progressbar" aria-valuenow="20"' in html
    assert "<b>" not in html
    shown.say("checking")
    assert "B/s" not in shown._html()
