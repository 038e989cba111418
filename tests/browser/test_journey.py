"""One rental as somebody sees it, from the first click to the receipt, with what may happen on the way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.browser.pages import Lab
    from tests.browser.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("lab")]

RAN = re.compile(r"\bgpunb-ran\b")

LONG = """import time
for i in range({n}):
    print("line", i, flush=True)
    time.sleep(0.1)
"""

UNTIL_TOLD = """import itertools, os, time
for i in itertools.count():
    print("again", i, flush=True)
    time.sleep(0.2)
    if os.path.exists(os.path.expanduser("~/enough")):
        break
print("\\x1b[31mtold\\x1b[0m")
"""


def test_a_rental_by_clicking(lab: Lab, rig: Rig) -> None:
    lab.open()
    expect(lab.side).to_contain_text("No GPUs rented yet")
    lab.picture("empty")
    dialog = lab.rent_dialog()
    lab.picture("rent-offers")
    lab.close_dialog()

    # rent, on a cloud
    dialog = lab.rent_dialog()
    dialog.get_by_label("Name").fill("trainer")
    dialog.get_by_label("Budget, $").fill("5")
    dialog.locator(".gpunb-find").fill("A4000 vast")
    dialog.locator(".gpunb-row").first.click()
    dialog.locator(".gpunb-foot .gpunb-rent").click()
    says = dialog.locator(".gpunb-dialog .gpunb-says")
    expect(says).to_contain_text("RTX A4000")
    expect(says).to_contain_text("$")
    lab.picture("rent-question")
    lab.page.wait_for_timeout(700)
    dialog.locator(".gpunb-dialog .gpunb-yes").click()
    progress = dialog.locator(".gpunb-progress")
    expect(progress).to_contain_text("Close does not cancel it")
    expect(progress.locator(".gpunb-progress-time")).to_contain_text(re.compile(r"^\d+ s of about \d"))
    lab.picture("rent-progress")
    expect(progress).to_have_attribute("data-state", "ready")
    expect(progress.locator(".gpunb-progress-says")).to_have_text("trainer is ready.")
    expect(progress.locator(".gpunb-progress-time")).to_contain_text("took")
    lab.picture("rent-ready")
    card = lab.card("trainer")
    expect(card).to_have_attribute("data-state", "ready")

    # the next step is one click away
    progress.get_by_role("button", name="Open a notebook on trainer").click()
    expect(dialog).to_have_count(0)
    (session,) = rig.sessions()
    expect(lab.run_on).to_have_value(session["id"])
    expect(lab.run_on).to_be_enabled()
    lab.page.locator("li.lm-TabBar-tab", has_text="Launcher").click()

    # the launcher has a kernel for it
    expect(lab.page.locator(".jp-LauncherCard", has_text="trainer").first).to_be_visible()
    lab.picture("launcher")

    # a cell runs there
    lab.notebook("journey.ipynb")
    expect(lab.run_on).to_have_value("")
    lab.run("gpunb:run-notebook-on", session="trainer")
    expect(lab.run_on).to_be_enabled()
    expect(lab.run_on).to_have_value(session["id"])
    cell = lab.cell("!nvidia-smi --query-gpu=name,memory.total --format=csv,noheader")
    expect(cell.locator(".jp-OutputArea-output").first).to_contain_text("RTX A4000")
    # and shows that it did; one that stays here has no such mark
    expect(cell).to_have_class(RAN)
    here = lab.cell("%%local\nprint('stays')")
    expect(here.locator(".jp-OutputArea-output").first).to_contain_text("stays")
    lab.idle()
    expect(here).not_to_have_class(RAN)

    # what it costs
    expect(lab.cost).to_contain_text(re.compile(r"GPU \$0\.\d+ · \$0\.\d+/h · \d.* left"))
    first = lab.cost.inner_text()
    lab.until(lambda: lab.cost.inner_text() != first, "the cost goes up")

    # extend it
    before = session["lease"]["deadline"]
    card.get_by_role("button", name="Extend: 1 h more").click()
    assert "$" in lab.yes(card)
    lab.until(lambda: rig.sessions()[0]["lease"]["deadline"] > before + 3000, "an hour more")
    expect(card.locator(".gpunb-lease-text").first).to_contain_text("3 h left")
    lab.picture("session")

    # the line breaks in mid-run, and comes back
    cell = lab.cell(LONG.format(n=100))
    out = cell.locator(".jp-OutputArea-output")
    expect(out.first).to_contain_text("line 5")
    rig.hosts.cut()
    lab.page.wait_for_timeout(3000)
    rig.hosts.restore()
    expect(out.last).to_contain_text("line 99")
    text = "".join(out.all_inner_texts())
    assert [line for line in range(100) if f"line {line}\n" not in f"{text}\n"] == []

    # a reload in mid-run finds everything
    cell = lab.cell(UNTIL_TOLD)
    expect(cell.locator(".jp-OutputArea-output").first).to_contain_text("again 3")
    lab.run("docmanager:save")
    lab.page.wait_for_timeout(1000)
    lab.page.on("dialog", lambda dialog: dialog.accept())
    lab.page.reload()
    lab.settle()
    card = lab.card("trainer")
    expect(card).to_have_attribute("data-state", "ready")
    run = card.locator(".gpunb-run").first
    expect(run).to_have_attribute("data-state", "running")
    run.get_by_role("button", name=re.compile("Log")).click()
    log = lab.page.locator(".gpunb-logview .gpunb-log")
    expect(log).to_contain_text("again 0")
    (host,) = (rig.home / "sim" / "hosts").iterdir()
    (host / "home" / "enough").touch()
    expect(log.locator(".ansi-red-fg")).to_have_text("told")
    # the tab is called as the cell begins
    tab = lab.page.locator("li.lm-TabBar-tab", has_text=re.compile("^import itertools"))
    download = lab.page.get_by_role("button", name="Download the log")
    for _ in range(60):  # the notebook that the reload brings back comes to the front when it is ready
        tab.click()
        lab.page.wait_for_timeout(500)
        if download.is_visible():
            break
    with lab.page.expect_download() as got:
        download.click()
    whole = got.value.path().read_text("utf-8")
    assert whole.startswith("again 0\n")
    assert whole.endswith("told\n")
    lab.picture("log")
    expect(run).to_have_attribute("data-state", "ok")
    lab.run("docmanager:open", path="journey.ipynb", factory="Notebook")
    expect(lab.run_on).to_have_value(session["id"])
    cells = lab.page.locator(".jp-NotebookPanel:visible .jp-CodeCell")
    expect(cells.nth(0)).to_have_class(RAN)
    expect(cells.nth(1)).not_to_have_class(RAN)

    # a stranger's port has a name of its own, and its link leads there
    card.get_by_role("button", name="Port…").click()
    ask = lab.page.locator(".jp-Dialog")
    ask.locator("input").fill("8123")
    ask.get_by_role("button", name="Ok").click()
    expect(card.locator(".gpunb-port")).to_contain_text("port 8123")  # at once: "opening"
    expect(card.locator(".gpunb-port a")).to_have_attribute(
        "href", re.compile(r"http://trainer\.localhost:\d+")
    )

    # the server is gone and comes back, as after a crash
    rig.kill()
    expect(lab.side).to_contain_text("No line to the server")
    lab.picture("no-server")
    rig.start()
    expect(lab.side).not_to_contain_text("No line to the server")
    expect(lab.card("trainer")).to_have_attribute("data-state", "ready")

    # stop, start, down, receipt
    lab.act("trainer", "stop")
    expect(lab.card("trainer")).to_have_attribute("data-state", "stopped")
    expect(lab.card("trainer").locator(".gpunb-port a")).to_have_count(0)
    lab.picture("stopped")
    lab.act("trainer", "start")
    expect(lab.card("trainer")).to_have_attribute("data-state", "ready")
    lab.act("trainer", "down")
    expect(lab.card("trainer")).to_have_count(0)
    toast = lab.page.locator(".Toastify__toast", has_text="trainer ended")
    expect(toast).to_contain_text("$")
    lab.picture("ended")
    toast.get_by_role("button", name="Receipt").click()
    receipts = lab.page.locator(".gpunb-receipts")
    row = receipts.locator("tbody tr").first
    expect(row).to_contain_text("trainer")
    expect(row).to_contain_text("confirmed")
    row.click()
    whole = receipts.locator(".gpunb-receipt")
    for text in ("confirmed by vast at", "Billed by vast", "Instance", "Ended by", "import itertools"):
        expect(whole).to_contain_text(text)
    lab.picture("receipts")
    assert rig.sessions() == []
    assert [row.id for row in rig.simulation["vast"].billed_now()] == []
