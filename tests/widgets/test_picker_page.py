"""The picker in a real browser, on a page of its own: 10,000 offers, keyboard, facets, dark, narrow."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.machines.chromium import HEADS, blank, picture
from support.rentals.offers import offer_rows

from gpunb.presentation.offer_columns import OFFER_COLUMNS, OfferColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

START = """async ([rows, failed, options]) => {
  const { createPicker } = await import("/picker.js");
  window.said = [];
  const note = (name) => (...args) => { window.said.push([name, ...args]); };
  window.picker = createPicker(document.getElementById("here"), {
    hours: 2, disk_gb: 20,
    onRent: note("rent"), onSearch: note("search"), onLogin: note("login"), onCancel: note("cancel"),
    ...options,
  });
  window.picker.setOffers(rows, null, failed);
}"""


@contextmanager
def picker(
    browser: Browser,
    rows: list[dict[str, Any]] | None = None,
    *,
    failed: list[dict[str, Any]] | None = None,
    options: dict[str, Any] | None = None,
    **page_options: Any,
) -> Iterator[Page]:
    with blank(browser, **page_options) as page:
        page.evaluate(START, [offer_rows(10_000) if rows is None else rows, failed or [], options or {}])
        yield page


def said(page: Page) -> list[Any]:
    found: list[Any] = page.evaluate("window.said")
    return found


def seen(page: Page) -> list[str]:
    """The GPU cells that are drawn, top down."""
    cells = page.evaluate(
        """() => [...document.querySelectorAll('.gpunb-row:not([hidden])')]
        .map((row) => [Number(row.getAttribute('aria-rowindex')), row.innerText])
        .sort((a, b) => a[0] - b[0])"""
    )
    return [text for _, text in cells]


def test_ten_thousand_offers_are_a_few_elements(browser: Browser) -> None:
    with picker(browser) as page:
        assert page.locator(".gpunb-count").inner_text() == "10,000 of 10,000 offers"
        assert page.locator(".gpunb-row").count() < 60
        grid = page.get_by_role("grid", name="Offers")
        assert grid.get_attribute("aria-rowcount") == "10001"
        picture(page, "picker-light")
        grid.evaluate("(el) => { el.scrollTop = el.scrollHeight; }")
        page.wait_for_selector("[aria-rowindex='10001']")
        assert page.locator(".gpunb-row").count() < 60


def test_the_keyboard_does_all_of_it(browser: Browser) -> None:
    with picker(browser) as page:
        grid = page.get_by_role("grid")
        grid.focus()
        for key, row in [("ArrowDown", 2), ("ArrowDown", 3), ("ArrowUp", 2), ("End", 10_001), ("Home", 2)]:
            page.keyboard.press(key)
            page.wait_for_selector(f".gpunb-active[aria-rowindex='{row}']")
            assert page.locator(".gpunb-active").get_attribute("id") == grid.get_attribute(
                "aria-activedescendant"
            )
        page.keyboard.press("/")
        page.keyboard.type("h200 vast")
        page.wait_for_function(
            "document.querySelector('.gpunb-count').innerText.match(/^[1-9]\\d* of|^\\d,\\d+ of/)"
        )
        assert all("H200" in row and "vast" in row for row in seen(page))
        page.keyboard.press("Enter")
        page.wait_for_selector(".gpunb-active[aria-rowindex='2']")
        assert "for 2 h: machine" in page.locator(".gpunb-why").inner_text()
        page.keyboard.press("Enter")
        asked = page.get_by_role("alertdialog")
        assert "Rent" in asked.inner_text()
        assert "in all" in asked.inner_text()
        picture(page, "picker-confirm")
        page.keyboard.press("Escape")
        asked.wait_for(state="hidden")
        assert said(page) == []
        page.keyboard.press("Enter")
        # held, or pressed twice, it is no answer
        page.keyboard.press("Enter")
        assert said(page) == []
        page.wait_for_timeout(600)
        page.keyboard.press("Enter")
        page.wait_for_function("window.said.length === 1")
        name, offer, terms = said(page)[0]
        assert (name, offer["gpu"], terms) == ("rent", "H200", {"hours": 2, "budget": None})
        assert page.get_by_role("button", name="Cancel").is_visible()


def test_facets_count_what_a_click_would_show(browser: Browser) -> None:
    rows = offer_rows(500)
    with picker(browser, rows) as page:
        box = page.locator("[data-facet=provider] label", has_text="sesterce")
        there = sum(row["provider"] == "sesterce" for row in rows)
        assert box.locator(".gpunb-value-count").inner_text() == str(there)
        box.click()
        assert page.locator(".gpunb-count").inner_text() == f"{there} of 500 offers"
        # its own facet goes on counting the others, the other facets count what is left
        vast = page.locator("[data-facet=provider] label", has_text="vast")
        assert vast.locator(".gpunb-value-count").inner_text() == str(
            sum(r["provider"] == "vast" for r in rows)
        )
        page.locator("[data-facet=gpu]").get_by_role("button", name="more").click()
        h100 = page.locator("[data-facet=gpu] label", has_text="H100 SXM")
        both = sum(row["provider"] == "sesterce" and row["gpu"] == "H100 SXM" for row in rows)
        assert h100.locator(".gpunb-value-count").inner_text() == str(both)
        h100.click()
        assert page.locator(".gpunb-count").inner_text() == f"{both} of 500 offers"
        page.get_by_label("Price, $/h to").fill("3")
        cheap = sum(r["provider"] == "sesterce" and r["gpu"] == "H100 SXM" and r["usd_h"] <= 3 for r in rows)
        assert page.locator(".gpunb-count").inner_text() == f"{cheap} of 500 offers"
        page.get_by_label("Price, $/h to").fill("cheap")
        assert page.get_by_label("Price, $/h to").get_attribute("aria-invalid") == "true"
        page.get_by_role("button", name="Clear filters").click()
        assert page.locator(".gpunb-count").inner_text() == "500 of 500 offers"


def test_what_matches_stands_above_what_does_not(browser: Browser) -> None:
    with picker(browser, offer_rows(500)) as page:
        facet = page.locator("[data-facet=gpu]")
        shown = facet.locator(".gpunb-value-text").all_inner_texts()
        facet.get_by_role("button", name="more").click()
        rare = facet.locator(".gpunb-value-text").all_inner_texts()[-1]
        facet.get_by_role("button", name="fewer").click()
        assert rare not in shown
        page.get_by_role("searchbox").fill(rare)
        assert facet.locator("label").first.locator(".gpunb-value-text").inner_text() == rare
        page.get_by_role("searchbox").fill("")
        assert facet.locator(".gpunb-value-text").all_inner_texts() == shown


def test_places_are_said_in_one_way(browser: Browser) -> None:
    asked = [("Oslo, NO", "NO"), (", US", "US"), ("mumbai-ind-1", "IN"), ("NO", "NO")]
    asked += [("", "DE"), ("", ""), ("Lab 3", "")]
    rows = offer_rows(len(asked))
    for row, (region, country) in zip(rows, asked, strict=True):
        row |= {"region": region, "country": country}
    with picker(browser, rows) as page:
        shown = page.locator(".gpunb-row:visible .gpunb-c-region").all_inner_texts()
    assert shown == ["Oslo, NO", "United States", "mumbai-ind-1, IN", "Norway", "Germany", "", "Lab 3"]


def test_sorting_three_ways(browser: Browser) -> None:
    rows = offer_rows(300)
    with picker(browser, rows) as page:
        head = page.get_by_role("columnheader", name="VRAM")
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert "192" in seen(page)[0]
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert "V100" in seen(page)[0]
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "none"
        # what a cloud does not say comes last both ways
        reliable = page.get_by_role("columnheader", name="Reliable")
        for _ in range(2):
            reliable.get_by_role("button").click()
            assert "vast" in seen(page)[0]


def test_why_is_told_on_hover_and_focus(browser: Browser) -> None:
    with picker(browser, offer_rows(50)) as page:
        why = page.locator(".gpunb-why")
        assert "arrow keys" in why.inner_text()
        page.locator("[aria-rowindex='4']").hover()
        assert "ready in about 2 min" in why.inner_text()
        assert page.get_by_role("grid").get_attribute("aria-describedby") == why.get_attribute("id")


def test_the_total_follows_the_hours_and_the_clouds_are_asked_again(browser: Browser) -> None:
    rows = offer_rows(20)
    with picker(browser, rows) as page:
        page.get_by_label("Hours").fill("4")
        first = page.locator("[aria-rowindex='2'] .gpunb-c-total_usd")
        assert first.inner_text().startswith("≈ $")
        page.wait_for_function("window.said.length === 1")
        assert said(page) == [["search", {"hours": 4, "disk_gb": 20}]]
        page.evaluate(
            "(rows) => window.picker.setOffers(rows, null, [], { hours: 4 })", offer_rows(20, hours=4)
        )
        assert not first.inner_text().startswith("≈")
        page.get_by_label("Hours").fill("never")
        page.get_by_role("grid").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert "Hours: a number above 0" in page.get_by_role("alert").inner_text()
        assert len(said(page)) == 1


def test_clouds_that_fail_are_named_and_a_missing_key_can_be_given(browser: Browser) -> None:
    failed = [
        {
            "provider": "vast",
            "message": "there is no key for Vast.ai",
            "hint": "gpunb login vast",
            "login": True,
        },
        {
            "provider": "fluence",
            "message": "did not answer within 30 s",
            "hint": "search again",
            "login": False,
        },
    ]
    with picker(browser, [], failed=failed, options={"askKey": True}) as page:
        notes = page.locator(".gpunb-notes")
        assert "fluence: did not answer within 30 s" in notes.inner_text()
        assert "No offers." in page.locator(".gpunb-empty").inner_text()
        picture(page, "picker-no-key")
        page.get_by_role("button", name="Log in").click()
        key = page.get_by_label("Key for vast")
        assert key.get_attribute("type") == "password"
        key.fill("secret-key")
        page.get_by_role("button", name="Save key").click()
        page.wait_for_function("window.said.length === 1")
        assert said(page) == [["login", "vast", "secret-key"]]
        assert "secret-key" not in page.content()
        assert key.input_value() == ""


def test_what_strangers_wrote_is_text_and_is_cut(browser: Browser) -> None:
    bad = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    rows = offer_rows(3)
    rows[0] |= {"gpu": bad, "region": bad, "why": bad, "cpu": bad}
    rows[1] |= {"gpu": "A" * 1_000_000, "why": "B" * 1_000_000, "provider": "C" * 1_000_000}
    rows[2] |= {
        "gpu": "\u202eevil\x1b[31m\n\n",
        "usd_h": None,
        "total_usd": None,
        "vram_gb": None,
        "gpus": None,
    }
    failed = [{"provider": bad, "message": bad + "M" * 1_000_000, "hint": bad}]
    with picker(browser, rows, failed=failed) as page:
        page.get_by_role("grid").focus()
        for _ in rows:
            page.keyboard.press("ArrowDown")
        picture(page, "picker-hostile")
        assert page.evaluate("window.owned") is None
        assert page.locator("#here script, #here img").count() == 0
        assert "<script>" in page.locator(".gpunb-row").first.inner_text()
        assert len(page.content()) < 60_000
        assert "\u202e" not in page.content()


def test_progress_through_the_states_cancel_and_back(browser: Browser) -> None:
    with picker(browser, offer_rows(50)) as page:
        page.get_by_role("grid").focus()
        page.keyboard.press("ArrowDown")
        page.get_by_role("button", name="Rent ").click()
        page.get_by_role("button", name="Rent for").wait_for()
        page.wait_for_timeout(600)
        page.get_by_role("button", name="Rent for").click()
        tell = "(said) => window.picker.setProgress(said)"
        page.evaluate(
            tell,
            {
                "title": "4090 on vast",
                "state": "booting",
                "says": "waiting for instance 7",
                "done": 30,
                "total": 120,
            },
        )
        assert page.locator("[aria-current=step]").inner_text() == "booting"
        assert page.get_by_role("progressbar").get_attribute("aria-valuenow") == "25"
        picture(page, "picker-progress")
        page.get_by_role("button", name="Cancel").click()
        assert [one[0] for one in said(page)] == ["rent", "cancel"]
        assert page.get_by_role("button", name="Cancel").is_disabled()
        page.evaluate(tell, {"state": "cancelled", "says": "confirmed: nothing is rented", "over": True})
        assert "nothing is rented" in page.locator(".gpunb-progress").inner_text()
        picture(page, "picker-cancelled")
        page.get_by_role("button", name="Back to the offers").click()
        assert page.get_by_role("button", name="Rent ").is_enabled()
        # the next rental can be cancelled, too
        page.get_by_role("button", name="Rent ").click()
        page.get_by_role("button", name="Rent for").wait_for()
        page.wait_for_timeout(600)
        page.get_by_role("button", name="Rent for").click()
        page.get_by_role("button", name="Cancel").click()
        assert [one[0] for one in said(page)] == ["rent", "cancel", "rent", "cancel"]


def test_a_refused_rental_goes_back_to_the_offers(browser: Browser) -> None:
    with blank(browser) as page:
        page.evaluate(
            """async (rows) => {
              const { createPicker } = await import("/picker.js");
              window.picker = createPicker(document.getElementById("here"), {
                hours: 2,
                onConfirm: async (offer) => ({ says: `Really ${offer.key}?`, usd: 1.5, token: "t1" }),
                onRent: async (offer, terms) => {
                  throw { message: `not with ${terms.token}`, hint: "again" };
                },
              });
              window.picker.setOffers(rows);
            }""",
            offer_rows(5),
        )
        page.locator("[aria-rowindex='2']").dblclick()
        asked = page.get_by_role("alertdialog")
        assert "Really " in asked.inner_text()
        page.wait_for_timeout(600)
        page.get_by_role("button", name="Rent for $1.50").click()
        page.wait_for_selector("[role=alert]")
        assert "not with t1" in page.get_by_role("alert").inner_text()
        assert page.get_by_role("button", name="Rent ").is_enabled()


def test_dark_and_narrow_cut_nothing_off(browser: Browser) -> None:
    for name, options in {
        "picker-dark": {"dark": True},
        "picker-narrow": {"width": 300, "height": 800},
        "picker-narrow-dark": {"width": 300, "height": 800, "dark": True},
    }.items():
        with picker(browser, offer_rows(200), **options) as page:
            page.get_by_role("grid").focus()
            page.keyboard.press("ArrowDown")
            picture(page, name)
            wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1], name
            out = page.evaluate(
                """() => [...document.querySelectorAll('.gpunb-bar *, .gpunb-foot *')].filter((one) => {
                  const box = one.getBoundingClientRect();
                  const root = document.querySelector('.gpunb').getBoundingClientRect();
                  return box.width && (box.right > root.right + 1 || box.bottom > root.bottom + 1);
                }).map((one) => one.className)"""
            )
            assert out == [], name
            heads = page.locator(".gpunb-head .gpunb-cell:visible")
            cut = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
            assert heads.evaluate_all(cut) == [], name
            if "width" in options:
                page.get_by_role("button", name="Filters").click()
                picture(page, f"{name}-facets")
                page.keyboard.press("Escape")
                page.keyboard.press("Enter")
                page.get_by_role("grid").focus()
                page.keyboard.press("Enter")
                page.get_by_role("button", name="Not now").wait_for()
                picture(page, f"{name}-confirm")


def label(column: OfferColumn) -> str:
    return f"{column.label}, {column.unit}" if column.unit else column.label


@pytest.mark.parametrize(("width", "drop"), [(1280, 8), (800, 1), (300, 0)])
def test_each_head_is_inside_its_column(browser: Browser, width: int, drop: int) -> None:
    with picker(browser, offer_rows(200), width=width, height=800) as page:
        found = page.evaluate(HEADS)
        picture(page, f"picker-heads-{width}")
        assert found["said"] == []
        assert {label(one) for one in OFFER_COLUMNS if one.px and one.drop <= drop} <= set(found["heads"])


def test_columns_go_in_the_order_that_the_list_says(browser: Browser) -> None:
    drops = {label(one): one.drop for one in OFFER_COLUMNS if one.px}
    with picker(browser, offer_rows(200), width=1250, height=800) as page:
        for width in range(1250, 590, -60):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_timeout(60)
            found = page.evaluate(HEADS)
            assert found["said"] == [], width
            gone = sorted(drops[name] for name in drops if name not in found["heads"])
            assert 0 not in gone, width
        assert len(gone) >= 5


def test_the_contract_of_the_handle(browser: Browser) -> None:
    with picker(browser, offer_rows(5)) as page:
        names = json.loads(page.evaluate("JSON.stringify(Object.keys(window.picker))"))
        assert {"setOffers", "setBusy", "setProgress", "setError", "destroy"} <= set(names)
        page.evaluate("window.picker.setBusy('asking vast')")
        assert "asking vast" in page.locator(".gpunb-count").inner_text()
        page.evaluate("window.picker.setBusy('')")
        page.evaluate("window.picker.destroy()")
        assert page.locator("#here > *").count() == 0
