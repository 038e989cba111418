"""The parts one by one: notices, files, terminal, ports, palette, looks, and Notebook 7."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.rig import TOKEN
from tests.support.machines.chromium import HEADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.pages import Lab
    from tests.browser.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("lab")]

# what sticks out of the panel, or whose text is cut without being meant to be
CUT = """() => {
  const panel = document.querySelector('#gpunb-panel');
  const edge = panel.getBoundingClientRect().right + 1;
  const all = [...panel.querySelectorAll('*')];
  const shown = all.filter(one => one.offsetParent !== null && !one.closest('svg'));
  const out = shown.filter(one => one.getBoundingClientRect().right > edge);
  const cut = shown.filter(one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
    && ['BUTTON', 'A', 'H2', 'LABEL'].includes(one.tagName));
  return [...out, ...cut].map(one => `${one.tagName}.${one.className}: ${one.textContent.slice(0, 40)}`);
}"""


@pytest.fixture
def host(rig: Rig, built: None) -> Iterator[str]:
    """A session on this machine, rented for nine minutes, so that its end is near."""
    if rig.server is None:
        rig.start()
    rig.gpunb("rent", "--cloud", "local", "--name", "parts", "--for", "9m", "--yes")
    try:
        yield "parts"
    finally:
        if any(one["name"] == "parts" for one in rig.sessions()):
            rig.gpunb("down", "parts", "--yes", "--no-save")


def test_a_notice_extends_the_lease(lab: Lab, rig: Rig, host: str) -> None:
    lab.open()
    expect(lab.card(host)).to_have_attribute("data-state", "ready")
    expect(lab.page.locator(".gpunb-status.gpunb-soon")).to_be_visible()
    toast = lab.page.locator(".Toastify__toast", has_text=host).filter(
        has=lab.page.locator("button", has_text="Extend")
    )
    expect(toast.first).to_be_visible()
    lab.picture("notice")
    before = rig.sessions()[0]["lease"]["deadline"]
    toast.first.get_by_role("button", name="Extend").click()
    dialog = lab.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text(host)
    lab.picture("extend")
    dialog.get_by_role("button", name="Extend").click()
    lab.until(lambda: rig.sessions()[0]["lease"]["deadline"] > before + 3000, "an hour more")
    expect(lab.page.locator(".gpunb-status.gpunb-soon")).to_have_count(0)


def test_files_terminal_and_ports(lab: Lab, rig: Rig, host: str) -> None:
    lab.open()
    card = lab.card(host)
    card.get_by_role("button", name="Files").click()
    files = lab.page.locator(".gpunb-files")
    # a fresh home has only dotfiles: they are there when somebody asks for them
    expect(files).to_contain_text("Only hidden files here")
    files.get_by_label("hidden files").check()
    expect(files.locator("tr", has_text=".gpunb")).to_be_visible()
    files.get_by_label("hidden files").uncheck()
    expect(files.locator("tr", has_text=".gpunb")).to_have_count(0)
    files.locator("input[type=file]").set_input_files(
        [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"<b>to be read</b>\n"}]
    )
    row = files.locator("tr", has_text="notes.txt")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Open notes.txt").click()
    expect(files.locator(".gpunb-file-view pre")).to_have_text("<b>to be read</b>\n")
    with lab.page.expect_download() as got:
        row.get_by_role("link", name="Download notes.txt").click()
    assert got.value.path().read_bytes() == b"<b>to be read</b>\n"
    row.get_by_role("button", name="Copy to notebook folder: notes.txt").click()
    lab.until((rig.work / "notes.txt").is_file, "the file comes here")
    # as JupyterLab's file browser drops it
    (rig.work / "sent.csv").write_text("a,b\n1,2\n", "utf-8")
    lab.page.evaluate(DROP, "sent.csv")
    expect(files.locator("tr", has_text="sent.csv")).to_be_visible()
    names = files.locator("tbody .gpunb-file-name")
    expect(names).to_have_text(["notes.txt", "sent.csv"])
    files.get_by_role("button", name="Size").click()  # the biggest first
    expect(files.get_by_role("columnheader", name="Size")).to_have_attribute("aria-sort", "descending")
    files.get_by_role("button", name="Size").click()
    expect(names).to_have_text(["sent.csv", "notes.txt"])
    lab.picture("files")
    dialog = lab.page.locator(".jp-Dialog")
    files.get_by_role("button", name="New folder…").click()
    dialog.locator("input").fill("results")
    dialog.get_by_role("button", name="Make").click()
    expect(files.locator("tr", has_text="results/")).to_be_visible()
    files.get_by_role("button", name="Rename… sent.csv").click()
    dialog.locator("input").fill("kept.csv")
    dialog.get_by_role("button", name="Rename").click()
    expect(names).to_have_text(["results/", "kept.csv", "notes.txt"])
    files.get_by_role("button", name="Delete… results").click()
    expect(dialog).to_contain_text("all that is in it")
    dialog.get_by_role("button", name="Delete").click()
    expect(names).to_have_text(["kept.csv", "notes.txt"])

    card.get_by_role("button", name="Terminal").click()
    expect(lab.page.locator(".jp-Terminal")).to_be_visible()
    tabs = lab.page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel")
    expect(tabs.get_by_text(re.compile(f"^{host}"))).to_be_visible()

    card.get_by_role("button", name="Port…").click()
    dialog.locator("input").fill("8123")
    dialog.get_by_role("button", name="Ok").click()
    link = card.locator(".gpunb-port a")
    expect(link).to_contain_text("8123")
    assert re.match(r"https?://(localhost|127\.0\.0\.1):\d+", str(link.get_attribute("href")))
    lab.picture("ports")
    card.get_by_role("button", name="Close port 8123").click()
    expect(card.locator(".gpunb-port")).to_have_count(0)


# the events that Lumino's drag makes when a file of the file browser is dropped
DROP = """path => {
  const target = document.querySelector('.gpunb-files');
  const mimeData = { hasData: kind => kind === 'application/x-jupyter-icontents', getData: () => [path] };
  for (const type of ['lm-dragenter', 'lm-dragover', 'lm-drop']) {
    const event = new Event(type, { bubbles: true, cancelable: true });
    target.dispatchEvent(Object.assign(event, { mimeData, proposedAction: 'move', dropAction: 'none' }));
  }
}"""


def test_the_palette_and_names_for_screen_readers(lab: Lab, host: str) -> None:
    lab.open()
    lab.page.keyboard.press("Control+Shift+c")
    lab.page.keyboard.type("GPU")
    items = lab.page.locator(".lm-CommandPalette-item")
    expect(items.filter(has_text="Rent a GPU")).to_be_visible()
    expect(items.filter(has_text="End a GPU session for good")).to_be_visible()
    lab.picture("palette")
    lab.page.keyboard.press("Escape")
    unnamed = lab.page.evaluate(
        """() => ['button', 'input', 'select']
          .flatMap(tag => [...document.querySelectorAll(`#gpunb-panel ${tag}`)])
          .filter(one => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length))
          .map(one => one.outerHTML)"""
    )
    assert unnamed == []
    # by keyboard alone: the panel's first button opens the dialog, Escape closes it
    lab.side.get_by_role("button", name="Rent…").focus()
    lab.page.keyboard.press("Enter")
    expect(lab.page.locator(".gpunb-rent-dialog .gpunb-row").first).to_be_visible()
    lab.page.keyboard.press("ArrowDown")
    lab.page.keyboard.press("Enter")
    expect(lab.page.locator(".gpunb-dialog .gpunb-says")).to_contain_text("$")
    lab.page.keyboard.press("Escape")
    expect(lab.page.locator(".gpunb-rent-dialog")).to_be_visible()  # only the question is gone
    lab.page.keyboard.press("Escape")
    expect(lab.page.locator(".gpunb-rent-dialog")).to_have_count(0)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_nothing_is_cut_off(lab: Lab, rig: Rig, host: str, theme: str) -> None:
    rig.theme(f"JupyterLab {theme}")
    try:
        lab.open()
        expect(lab.card(host)).to_have_attribute("data-state", "ready")
        expect(lab.page.locator(f'body[data-jp-theme-name="JupyterLab {theme}"]')).to_be_attached()
        for width in (300, 446, 560):
            _widen(lab, width)
            assert lab.page.evaluate(CUT) == []
            lab.picture(f"panel-{theme.lower()}-{width}")
        lab.rent_dialog()
        lab.picture(f"picker-{theme.lower()}")
        lab.close_dialog()
        lab.card(host).locator(".gpunb-actions .gpunb-down").click()
        lab.card(host).locator(".gpunb-yes").wait_for()
        _widen(lab, 300)
        assert lab.page.evaluate(CUT) == []
        lab.picture(f"panel-{theme.lower()}-question")
    finally:
        rig.theme("JupyterLab Light")


@pytest.mark.parametrize("width", [1280, 800, 300])
def test_each_head_of_the_rent_dialog_is_inside_its_column(lab: Lab, width: int) -> None:
    lab.open()
    lab.rent_dialog()
    lab.page.set_viewport_size({"width": width, "height": 800})
    lab.page.wait_for_timeout(300)
    found = lab.page.evaluate(HEADS)
    lab.picture(f"picker-heads-{width}")
    assert found["said"] == []
    assert {"GPU", "Cloud", "$/h", "Total"} <= set(found["heads"])
    lab.page.set_viewport_size({"width": 1280, "height": 800})
    lab.close_dialog()


def _widen(lab: Lab, width: int) -> None:
    """Drag the panel's edge."""
    box = lab.side.bounding_box()
    assert box is not None
    edge = box["x"] + box["width"] + 2
    lab.page.mouse.move(edge, 400)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + width + 2, 400, steps=5)
    lab.page.mouse.up()


def test_notebook_7_has_what_it_can_have(lab: Lab, rig: Rig, host: str) -> None:
    pytest.importorskip("notebook")
    lab.notebook_file("seven.ipynb")
    lab.page.goto(f"{rig.url}/notebooks/seven.ipynb?token={TOKEN}", wait_until="domcontentloaded")
    select = lab.page.locator(".gpunb-run-on-select")
    lab.page.locator(".jp-Notebook").wait_for()
    select.select_option(label=host)
    (session,) = rig.sessions()
    expect(select).to_be_enabled()
    expect(select).to_have_value(session["id"])
    cell = lab.cell("import os; print(os.path.expanduser('~'))")
    expect(cell.locator(".jp-OutputArea-output")).to_contain_text(str(rig.home))
    expect(lab.page.locator(".Toastify__toast", has_text=host).first).to_be_visible()
    lab.page.get_by_role("button", name="Show rented GPUs").click()
    expect(lab.page.locator("#gpunb-panel")).to_contain_text(host)
    lab.picture("notebook7")
