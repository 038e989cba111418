"""The session panel in a real browser, on a page of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.machines.chromium import blank, picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

NOW = 1_800_000_000.0
START = """async ([sessions, more, options]) => {
  const { createPanel } = await import("/panel.js");
  window.said = [];
  const note = (name) => (...args) => { window.said.push([name, ...args]); };
  window.panel = createPanel(document.getElementById("here"), {
    onAction: note("action"), onLook: note("look"), now: () => 1800000000, ...options,
  });
  window.panel.update(sessions, more);
}"""


def session(at: int, **changed: Any) -> dict[str, Any]:
    """A session as `gpunb.presentation.shapes.session_shape` makes it."""
    return {
        "id": f"s{at}",
        "name": f"train-{at}",
        "provider": "vast",
        "simulated": False,
        "state": "ready",
        "detail": "",
        "tone": "ok",
        "gpu": "H100 SXM",
        "gpus": 2,
        "trust": "stranger",
        "usd_h": 4.8,
        "cost": {"gpu": 3.1, "disk": 0.1, "bandwidth": 0.0, "total": 3.2},
        "lease": {
            "deadline": NOW + 3600,
            "idle_s": 1800.0,
            "idle_ends": NOW + 600,
            "budget_usd": 12.0,
            "ends": NOW + 600,
            "ends_by": "idle",
            "soon": False,
        },
        "created": NOW - 3700,
        "ready": NOW - 3600,
        "ended": None,
        "runs_active": 0,
        "next": "%%gpu at the top of a cell runs it there",
        "can": ["down", "extend", "stop", "start"],
        **changed,
    }


MORE = {
    "telemetry": {
        "s0": {
            "at": list(range(60)),
            "gpu": [[(at * 7) % 100 for at in range(60)], [90.0] * 60],
            "memory": [list(range(60)), [None, *[40.0] * 59]],
        }
    },
    "runs": {
        "s0": [
            {
                "id": "k3v9aaaa",
                "name": "train.py --epochs 3",
                "state": "running",
                "seconds": 350.0,
                "usd": 0.4,
            },
            {"id": "k3v9aaab", "name": "", "state": "error", "seconds": 3.0, "usd": None},
        ]
    },
    "transfers": {"s0": [{"id": "1", "title": "to the host: data", "state": "done", "done": 5, "total": 10}]},
}


@contextmanager
def panel(
    browser: Browser,
    sessions: list[dict[str, Any]],
    more: dict[str, Any] | None = None,
    *,
    options: dict[str, Any] | None = None,
    **page_options: Any,
) -> Iterator[Page]:
    with blank(browser, **page_options) as page:
        page.evaluate(START, [sessions, MORE if more is None else more, options or {}])
        yield page


def said(page: Page) -> list[Any]:
    return [one for one in page.evaluate("window.said") if one[0] == "action"]


def test_leases_load_runs_and_transfers(browser: Browser) -> None:
    with panel(browser, [session(0), session(1, state="stopped", tone="warn", usd_h=0.02)]) as page:
        card = page.get_by_role("article", name="train-0")
        meters = card.get_by_role("meter")
        assert [one.get_attribute("aria-valuenow") for one in meters.all()] == ["50", "67", "27"]
        assert "10 min left" in card.inner_text()
        assert "$3.20 of $12.00" in card.inner_text()
        assert card.get_by_role("img").count() == 4
        assert card.get_by_label("GPU 1 load 90%").count() == 1
        assert "train.py --epochs 3" in card.inner_text()
        assert "50%" in card.locator(".gpunb-transfers").inner_text()
        stopped = page.get_by_role("article", name="train-1")
        assert stopped.get_by_role("button", name="Start").is_visible()
        assert not stopped.get_by_role("button", name="Stop").is_visible()
        picture(page, "panel-light")


@pytest.mark.parametrize(
    ("press", "says", "expected"),
    [
        ("Down", "End train-0 for good", ["down", "s0", {}]),
        ("Stop", "Stop train-0?", ["stop", "s0", {}]),
        ("Extend: 1 h more", "1 h more", ["extend", "s0", {"hours": 1}]),
        ("Extend: 30 min more", "30 min more", ["extend", "s0", {"idle_s": 3600}]),
        ("Extend: $5.00 more", "$5.00 more", ["extend", "s0", {"add_usd": 5}]),
        ("Cancel: train.py --epochs 3", "End the run", ["cancel", "s0", {"run": "k3v9aaaa"}]),
    ],
)
def test_every_action_is_asked_first(browser: Browser, press: str, says: str, expected: list[Any]) -> None:
    with panel(browser, [session(0)]) as page:
        page.get_by_role("button", name=press).click()
        asked = page.get_by_role("alertdialog")
        assert says in asked.inner_text()
        if press == "Down":
            picture(page, "panel-down")
        page.keyboard.press("Escape")
        asked.wait_for(state="hidden")
        assert said(page) == []
        page.get_by_role("button", name=press).click()
        page.wait_for_timeout(600)
        page.get_by_role("button", name="Yes, ").click()
        page.wait_for_function("window.said.some((one) => one[0] === 'action')")
        assert said(page) == [["action", *expected]]


def test_the_question_and_the_failure_are_the_kernels(browser: Browser) -> None:
    with blank(browser) as page:
        page.evaluate(
            """async (sessions) => {
              const { createPanel } = await import("/panel.js");
              window.panel = createPanel(document.getElementById("here"), {
                onConfirm: async () => ({ says: "It costs $9. Sure?", token: "t" }),
                onAction: async (action, session, args) => {
                  throw { message: `no ${args.token}`, bill: "it goes on" };
                },
              });
              window.panel.update(sessions);
            }""",
            [session(0)],
        )
        page.get_by_role("button", name="Down").click()
        page.get_by_text("It costs $9. Sure?").wait_for()
        page.wait_for_timeout(600)
        page.get_by_role("button", name="Yes, down").click()
        page.get_by_text("no t").wait_for()
        assert "it goes on" in page.locator(".gpunb-card").inner_text()


def test_a_log_follows_and_closes(browser: Browser) -> None:
    with panel(browser, [session(0)]) as page:
        page.get_by_role("button", name="Log: train.py --epochs 3").click()
        page.evaluate("window.panel.card('s0').setLog('k3v9aaaa', 'epoch 1\\n<b>loss</b> 0.5\\n')")
        assert "<b>loss</b>" in page.locator("pre").inner_text()
        page.keyboard.press("Escape")
        assert page.locator("pre").count() == 0
        assert [one[1] for one in said(page)] == ["log", "log-closed"]


def test_many_sessions_are_closed_and_only_the_open_ones_are_looked_at(browser: Browser) -> None:
    with panel(browser, [session(at) for at in range(200)]) as page:
        assert page.locator(".gpunb-card").count() == 200
        assert page.locator(".gpunb-opened").count() == 0
        assert "200 sessions · $640.00 so far" in page.locator(".gpunb-sum").inner_text()
        page.get_by_role("button", name="Details of train-7", exact=True).click()
        assert page.evaluate("window.said.at(-1)") == ["look", ["s7"]]
        picture(page, "panel-200")
        page.evaluate("(left) => window.panel.update(left)", [session(at) for at in range(5)])
        assert page.locator(".gpunb-card").count() == 5
        assert page.evaluate("window.said.at(-1)") == ["look", []]


def test_what_has_the_focus_keeps_it(browser: Browser) -> None:
    with panel(browser, [session(0)]) as page:
        log = page.get_by_role("button", name="Log: train.py --epochs 3")
        log.focus()
        changed = {"runs": {"s0": [{**MORE["runs"]["s0"][0], "state": "ok"}]}}  # type: ignore[index]
        page.evaluate("([s, more]) => window.panel.update(s, more)", [[session(0, usd_h=5.0)], changed])
        assert page.evaluate("document.activeElement.dataset.key") == "log/k3v9aaaa"


def test_names_of_strangers_are_text(browser: Browser) -> None:
    bad = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    hostile = session(0, name=bad, gpu=bad + "G" * 1_000_000, detail=bad, next=bad, state=bad, provider=bad)
    more = {
        "runs": {"s0": [{"id": bad, "name": bad + "N" * 1_000_000, "state": bad}]},
        "telemetry": {"s0": bad},
    }
    with panel(browser, [hostile], more) as page:
        picture(page, "panel-hostile")
        assert page.evaluate("window.owned") is None
        assert page.locator("#here script, #here img").count() == 0
        assert len(page.content()) < 30_000


def test_dark_and_narrow(browser: Browser) -> None:
    soon = session(1, lease={**session(1)["lease"], "deadline": NOW + 200, "soon": True})
    for name, options in {
        "panel-dark": {"dark": True},
        "panel-narrow": {"width": 300},
        "panel-narrow-dark": {"width": 300, "dark": True},
    }.items():
        with panel(
            browser, [session(0, name="a-rather-long-session-name-of-somebody"), soon], **options
        ) as page:
            picture(page, name)
            wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1], name
            out = page.evaluate(
                """() => [...document.querySelectorAll('.gpunb-card *')].filter((one) => {
                  const box = one.getBoundingClientRect();
                  const root = one.closest('.gpunb-card').getBoundingClientRect();
                  return box.width && box.right > root.right + 1;
                }).map((one) => one.className)"""
            )
            assert out == [], name
