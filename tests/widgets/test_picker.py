"""The picker in a real kernel: rentals of real local hosts; the test plays the page."""

from __future__ import annotations

import gzip
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.machines.browser import Browser
from support.machines.kernel import Notebook
from support.rentals.supervisors import end_supervisors

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

VIEW = "application/vnd.jupyter.widget-view+json"
_numbers = itertools.count(1)


class Page:
    """A page that shows one of our widgets."""

    def __init__(self, browser: Browser, cell: str) -> None:
        self.browser = browser
        shown = browser.run(cell)
        bundles = [
            one["content"]["data"] for one in shown if one["msg_type"] in ("execute_result", "display_data")
        ]
        errors = [one["content"] for one in shown if one["msg_type"] == "error"]
        assert not errors, errors
        self.bundle = next(bundle for bundle in bundles if VIEW in bundle)
        self.comm = self.bundle[VIEW]["model_id"]

    def send(self, kind: str, **fields: Any) -> int:
        number = next(_numbers)
        self.browser.send(self.comm, {"method": "custom", "content": {"kind": kind, "id": number, **fields}})
        return number

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [
            {**one["content"]["data"]["content"], "_buffers": one["buffers"]}
            for one in self.browser.heard
            if one["msg_type"] == "comm_msg"
            and one["content"]["comm_id"] == self.comm
            and one["content"]["data"].get("method") == "custom"
            and one["content"]["data"]["content"]["kind"] == kind
        ]

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The answer: ``{said}`` or ``{error}``."""
        number = self.send(kind, **fields)
        found: list[dict[str, Any]] = self.browser.until(
            lambda: [one for one in self.told("answer") if one["id"] == number], seconds=60
        )
        return found[0]

    def good(self, kind: str, **fields: Any) -> Any:
        answer = self.ask(kind, **fields)
        assert answer["error"] is None, answer
        return answer["said"]

    def offers(self) -> list[dict[str, Any]]:
        self.browser.until(lambda: any(one["last"] for one in self.told("offers")), seconds=60)
        rows = []
        for part in self.told("offers"):
            raw = bytes(part["_buffers"][0])
            rows += json.loads(gzip.decompress(raw) if part["zipped"] else raw)
        return rows

    def progress(self) -> dict[str, Any]:
        return (self.told("progress") or [{"state": ""}])[-1]

    def until_over(self) -> dict[str, Any]:
        self.browser.until(lambda: self.progress().get("over"), seconds=90)
        return self.progress()

    def rent(self, **terms: Any) -> dict[str, Any]:
        offer = self.offers()[0]
        terms = {"offer": offer["key"], "hours": 0.5, "budget": None, **terms}
        asked = self.good("confirm", **terms)
        self.good("rent", **terms, token=asked["token"])
        return {**terms, **asked}


@pytest.fixture
def notebook(home: Path, tmp_path: Path) -> Iterator[Notebook]:
    work = tmp_path / "work"
    work.mkdir()
    made = Notebook(work)
    made.run("import gpunb")
    yield made
    made.close()
    end_supervisors(home)


@pytest.fixture
def browser(notebook: Notebook) -> Browser:
    return Browser(notebook.client)


@pytest.fixture
def page(browser: Browser) -> Page:
    found = Page(browser, "s = gpunb.pick(hours=0.5); s")
    found.good("hello", zipped=True)
    return found


def error_of(browser: Browser, cell: str) -> str:
    (error,) = [one["content"] for one in browser.run(cell, 90) if one["msg_type"] == "error"]
    return f"{error['ename']}: {error['evalue']}"


def text_of(browser: Browser, cell: str) -> str:
    shown = browser.run(cell, 90)
    assert not [one for one in shown if one["msg_type"] == "error"], shown
    return "".join(one["content"]["text"] for one in shown if one["msg_type"] == "stream")


def test_a_click_rents_and_the_next_line_uses_it(page: Page, browser: Browser, home: Path) -> None:
    (offer,) = page.offers()
    assert offer["provider"] == "local"
    html = page.bundle["text/html"]
    assert "local" in html
    assert "<table" in html
    asked = page.rent()
    assert asked["says"].startswith("Rent cpu on local")
    assert "It ends by itself after 30m" in asked["says"]
    # while the rental goes on, the kernel is free, and the next line may wait for it
    assert text_of(browser, "print(s.wait(60).state.value, s.session.name)").startswith("ready ")
    page.until_over()
    states = [one["state"] for one in page.told("progress")]
    assert states[-1] == "ready"
    assert text_of(browser, "%%gpu\nprint(6 * 7)") == "42\n"
    with Ledger.open() as ledger:
        (session,) = ledger.sessions()
    assert session.lease.deadline is not None
    assert abs(session.lease.deadline - session.created - 1800) < 60
    # a page that comes later is told what became of it
    assert page.good("hello", zipped=False)["progress"]["state"] == "ready"


def test_only_what_was_confirmed_is_rented_and_only_once(page: Page, home: Path) -> None:
    terms = {"offer": page.offers()[0]["key"], "hours": 0.5, "budget": None}
    assert "never asked" in page.ask("rent", **terms, token="made-up")["error"]["message"]
    token = page.good("confirm", **terms)["token"]
    assert "something else" in page.ask("rent", **{**terms, "hours": 200.0}, token=token)["error"]["message"]
    assert "answered already" in page.ask("rent", **terms, token=token)["error"]["message"]
    with Ledger.open() as ledger:
        assert ledger.sessions(alive=False) == []
    token = page.good("confirm", **terms)["token"]
    first, second = page.send("rent", **terms, token=token), page.send("rent", **terms, token=token)
    answers = page.browser.until(
        lambda: (
            [a for a in page.told("answer") if a["id"] in (first, second)][1:2]
            and [a for a in page.told("answer") if a["id"] in (first, second)]
        )
    )
    assert sum(one["error"] is not None for one in answers) == 1
    assert page.until_over()["state"] == "ready"
    with Ledger.open() as ledger:
        assert len(ledger.sessions(alive=False)) == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "rent"}, "rent: offer None must be text"),
    ({"kind": "confirm", "offer": "x", "hours": "2"}, "confirm: hours '2' must be a number above 0"),
    (
        {"kind": "confirm", "offer": "x", "hours": 1e9},
        "hours 1000000000.0 must be a number above 0 and at most",
    ),
    ({"kind": "confirm", "offer": "x", "hours": True}, "hours True must be a number"),
    ({"kind": "confirm", "offer": "x", "hours": 1, "budget": -1}, "budget -1 must be a number above 0"),
    ({"kind": "confirm", "offer": "nope", "hours": 1}, "not in the results of the last search"),
    ({"kind": "confirm", "offer": "x" * 1_000_000, "hours": 1}, "must have at most 400 characters"),
    ({"kind": "confirm", "offer": "x", "hours": 1, "more": 1}, "there is no field 'more'"),
    ({"kind": "down"}, "kind 'down' must be one of"),
    ({"kind": "<script>"}, "kind '<script>' must be one of"),
    ({"kind": "login", "provider": "local", "key": "k"}, "needs no key"),
    ({"kind": "login", "provider": "nope", "key": "k"}, "nope"),
    ({"kind": "cancel"}, "no rental to cancel"),
]


def test_bad_messages_name_the_field_the_value_and_the_rule(page: Page) -> None:
    for fields, rule in BAD:
        error = page.ask(**fields)["error"]
        assert error is not None, fields
        assert rule in error["message"], fields
        assert len(error["message"]) < 300, fields


def test_cancel_leads_to_a_confirmed_end(page: Page, browser: Browser, home: Path) -> None:
    page.rent()
    page.good("cancel")
    end = page.until_over()
    assert end["state"] in ("cancelled", "ready")  # a local host can be quicker than the click
    if end["state"] == "cancelled":
        assert "nothing is rented" in end["says"] or "nothing was rented" in end["says"]
        assert "Cancelled" in error_of(browser, "s.wait()")
        assert text_of(browser, "print(s.session)") == "None\n"
        with Ledger.open() as ledger:
            assert ledger.sessions() == []


def test_waiting_for_a_click_that_cannot_be_heard_stops_the_notebook(page: Page, browser: Browser) -> None:
    said = error_of(browser, "s.wait()")
    assert "nothing was picked yet" in said
    assert "nothing was rented" in said or "can't hear" in said


def test_a_bare_rent_opens_the_picker_and_more_words_do_not(browser: Browser, home: Path) -> None:
    page = Page(browser, "%gpu rent")
    page.good("hello", zipped=True)
    assert len(page.offers()) == 1
    with Ledger.open() as ledger:
        assert ledger.sessions() == []
    shown = browser.run("%gpu rent --name demo --for 30m", 90)
    assert "demo is ready" in "".join(str(one["content"]) for one in shown)


def test_the_panel_shows_extends_and_ends(browser: Browser, home: Path) -> None:
    browser.run("%gpu rent --name demo --for 30m", 90)
    browser.run("%%gpu\nprint('hello from there')", 90)
    page = Page(browser, "%gpu panel")
    assert "demo" in page.bundle["text/html"]
    page.good("hello")
    browser.until(lambda: page.told("sessions"))
    (session,) = page.told("sessions")[-1]["changed"]
    assert (session["name"], session["state"]) == ("demo", "ready")
    page.good("look", sessions=[session["id"]])
    browser.until(lambda: any(one["runs"] for one in page.told("sessions")))
    (run,) = next(one["runs"] for one in page.told("sessions") if one["runs"])[session["id"]]
    # the load comes once a second while somebody looks
    browser.until(lambda: len(page.told("telemetry")) >= 3, seconds=60)
    assert set(page.told("telemetry")[-1]["series"]) == {"at", "gpu", "memory"}
    page.send("log", session=session["id"], run=run["id"])
    browser.until(lambda: page.told("log"))
    assert page.told("log")[-1]["text"] == "hello from there\n"

    def act(action: str, **args: Any) -> dict[str, Any]:
        asked = page.good("confirm", action=action, session=session["id"], **args)
        act.says = asked["says"]  # type: ignore[attr-defined]
        return page.ask("act", action=action, session=session["id"], **args, token=asked["token"])

    unasked = page.ask("act", action="down", session=session["id"], token="x")
    assert "not confirmed" in unasked["error"]["message"]
    assert "must be one of" in page.ask("confirm", action="rm -rf", session=session["id"])["error"]["message"]
    assert act("extend", hours=1.0)["error"] is None
    with Ledger.open() as ledger:
        extended = ledger.get(session["id"]).lease.deadline
        assert extended is not None
        assert extended - session["lease"]["deadline"] == pytest.approx(3600, abs=5)
    assert act("stop")["error"] is None
    seen = [one["state"] for told in page.told("sessions") for one in told["changed"]]
    assert "ready" in seen
    assert act("start")["error"] is None
    assert any("is ready" in one["text"] for one in page.told("says"))
    assert act("down")["error"] is None
    assert "End demo for good" in act.says  # type: ignore[attr-defined]
    with Ledger.open() as ledger:
        assert ledger.get(session["id"]).state is SessionState.GONE
    browser.until(lambda: page.told("sessions")[-1]["order"] == [])
    assert "ended" in page.ask("confirm", action="down", session=session["id"])["error"]["message"]


def test_a_cloud_without_a_key_offers_to_log_in_and_hostile_offers_are_cut(
    browser: Browser,
) -> None:
    # nobody listens there
    browser.run("import os; os.environ['GPUNB_PROVIDERS__VAST__BASE_URL'] = 'http://127.0.0.1:9'")
    page = Page(browser, "s = gpunb.pick(cloud='vast'); s")
    page.good("hello", zipped=True)
    page.offers()
    (failed,) = page.told("offers")[-1]["failed"]
    assert (failed["provider"], failed["login"]) == ("vast", True)
    assert "vast" in page.bundle["text/html"]
    secret = "0123456789-very-secret"
    refused = page.ask("login", provider="vast", key=secret)
    assert refused["error"] is not None
    assert secret not in json.dumps([one["content"] for one in browser.heard], default=str)


def test_what_pick_refuses(browser: Browser) -> None:
    assert "did you mean gpu" in error_of(browser, "gpunb.pick(gpuu='H100')")
    assert "gpu=None must be a text or a number" in error_of(browser, "gpunb.pick(gpu=None)")
    assert "BadInput" in error_of(browser, "gpunb.pick('vram >= >= 80')")


def test_nothing_of_a_widget_is_imported_before_it_is_asked_for(browser: Browser) -> None:
    code = "import sys; print([one for one in ('anywidget', 'ipywidgets', 'httpx') if one in sys.modules])"
    assert text_of(browser, code) == "[]\n"
