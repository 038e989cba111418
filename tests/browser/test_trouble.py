"""No key, no clouds, odd names, two tabs, other versions, no server: what is seen of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from tests.browser.pages import Lab
    from tests.browser.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("lab")]

NASTY = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"


def changed(page: Page, path: str, change: dict[str, Any]) -> None:
    """Let the page see another answer of the server's at `path`."""

    def answer(route: Route) -> None:
        found = route.fetch()
        route.fulfill(response=found, body=json.dumps({**found.json(), **change}))

    page.route(re.compile(rf"/gpunb/api/v1/{path}(\?|$)"), answer)


def test_without_a_key_the_login_is_offered(lab: Lab, rig: Rig) -> None:
    known = rig.simulation.description()
    cloud = known["sesterce"]
    # it answers, but to gpunb it is no simulation that has its own key
    rig.mark({name: one for name, one in known.items() if name != "sesterce"})
    config = rig.home / "gpunb.toml"
    config.write_text(f'[providers.sesterce]\nbase_url = "{cloud["base_url"]}"\n', "utf-8")
    try:
        lab.open()
        dialog = lab.rent_dialog()
        note = dialog.locator(".gpunb-note", has_text="sesterce")
        note.get_by_role("button", name="Log in").click()
        lab.picture("login")
        note.locator("input[type=password]").fill("nobody")
        note.get_by_role("button", name="Save key").click()
        expect(dialog.locator(".gpunb-note.gpunb-bad")).to_contain_text("API key invalid")
        note = dialog.locator(".gpunb-note:not(.gpunb-bad)", has_text="sesterce")
        if note.locator("input[type=password]").count() == 0:
            note.get_by_role("button", name="Log in").click()
        note.locator("input[type=password]").fill(cloud["key"])
        note.get_by_role("button", name="Save key").click()
        dialog.locator(".gpunb-find").fill("sesterce")
        expect(dialog.locator(".gpunb-row").first).to_contain_text("sesterce")
        expect(dialog.locator(".gpunb-note", has_text="sesterce")).to_have_count(0)
        assert cloud["key"] not in lab.page.content()
    finally:
        rig.mark(known)
        rig.gpunb("logout", "sesterce")
        config.unlink()


def test_all_clouds_are_down(lab: Lab, rig: Rig) -> None:
    known = rig.simulation.description()
    dead = {name: {**one, "base_url": "http://127.0.0.1:9"} for name, one in known.items()}
    rig.mark(dead)
    try:
        lab.open()
        dialog = lab.rent_dialog(offers=False)
        for name in known:
            expect(dialog.locator(".gpunb-note", has_text=re.compile(name, re.IGNORECASE))).to_be_visible()
        lab.picture("clouds-down")
    finally:
        rig.mark(known)
    # and when they are back, a click is enough
    dialog.get_by_role("button", name="Refresh").click()
    expect(dialog.locator(".gpunb-note")).to_have_count(0)
    dialog.locator(".gpunb-find").fill("fluence")
    expect(dialog.locator(".gpunb-row").first).to_contain_text("fluence")


def test_names_are_never_markup(lab: Lab, rig: Rig) -> None:
    def nasty(route: Route) -> None:
        found = route.fetch()
        body = found.json()
        for one in body["offers"][:5]:
            one["gpu"] = one["region"] = one["why"] = NASTY
        body["failed"] = [{"provider": NASTY, "message": NASTY, "hint": NASTY, "login": False}]
        route.fulfill(response=found, body=json.dumps(body))

    where = re.compile(r"/gpunb/api/v1/offers(\?|$)")
    lab.page.route(where, nasty)
    lab.open()
    dialog = lab.rent_dialog()
    expect(dialog.locator(".gpunb-row").first).to_contain_text("<script>")
    dialog.locator(".gpunb-row").first.hover()
    lab.picture("markup")
    lab.page.unroute(where)
    # a name that somebody types: refused, with the rule
    dialog.get_by_role("button", name="Refresh").click()
    expect(dialog.locator(".gpunb-row").first).not_to_contain_text("<script>")
    dialog.get_by_label("Name").fill("<script>alert(1)</script>")
    dialog.locator(".gpunb-row").first.click()
    dialog.locator(".gpunb-foot .gpunb-rent").click()
    expect(dialog.locator(".gpunb-note.gpunb-bad")).to_contain_text("<script>alert(1)</script>")
    lab.picture("bad-name")
    assert lab.page.evaluate("window.pwned") is None
    assert rig.sessions() == []


def test_two_tabs_end_one_session(lab: Lab, rig: Rig) -> None:
    lab.open()
    lab.rent("twice", find="deepinfra")
    other = lab.another()
    other.open()
    tabs = [lab, other]
    for tab in tabs:
        tab.card("twice").locator(".gpunb-actions .gpunb-down").click()
        tab.card("twice").locator(".gpunb-yes").wait_for()
    lab.page.wait_for_timeout(600)
    for tab in tabs:
        tab.card("twice").locator(".gpunb-yes").click(no_wait_after=True)
    for tab in tabs:
        expect(tab.card("twice")).to_have_count(0)
    assert rig.sessions() == []
    receipts = [one for one in rig.ask("gpunb/api/v1/receipts")["receipts"] if one["name"] == "twice"]
    assert len(receipts) == 1


def test_another_version_is_told(lab: Lab) -> None:
    # the same interface, another release: told, and everything works
    changed(lab.page, "status", {"version": "99.0.0"})
    lab.page.route_web_socket(re.compile("/gpunb/api/v1/events"), lambda ws: ws.connect_to_server())
    lab.open()
    lab.page.unroute_all()
    # another interface: told, and nothing is asked for that could be misunderstood
    changed(lab.page, "status", {"version": "99.0.0", "api": 99})
    lab.open()
    expect(lab.side).to_contain_text("the server 99.0.0, and they do not understand each other")
    expect(lab.side.get_by_role("button", name="Rent…")).to_be_disabled()
    lab.picture("other-version")
    lab.notebook("version.ipynb")
    cell = lab.cell("6 * 7")
    expect(cell.locator(".jp-OutputArea-output")).to_contain_text("42")


def test_a_server_without_gpunb_is_told(lab: Lab) -> None:
    lab.page.route("**/gpunb/api/v1/status*", lambda route: route.fulfill(status=404, body="no"))
    lab.open()
    expect(lab.side).to_contain_text("This Jupyter server has no gpunb")
    lab.picture("no-gpunb")
    lab.page.unroute_all()
    lab.side.get_by_role("button", name="Try again").click()
    expect(lab.side).to_contain_text("No GPUs rented yet")
