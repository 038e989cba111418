"""How quickly the picker and the session panel are there in a browser, beside plain ways to show the same.

Headless Chromium loads the widgets' own files; times are of the page, from the call with the rows
until the frame with them was painted. The peer gets the same rows in the same browser, in turns: a
plain HTML table with a filter, which is what a notebook shows of a data frame.
"""

from __future__ import annotations

import os
import random
import shutil
from importlib.resources import files
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import Bar, Options, Report, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

__all__ = ["run"]

OFFERS = 10_000
SESSIONS = 200
ROUNDS = 7
FIRST_MS = 1000.0
KEY_MS = 50.0
KEYS = "h200 vast"
ORIGIN = "http://paint.test"  # answered by the page's own route; nothing leaves the browser
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"

PICKER = f"""async (rows) => {{
  const painted = {PAINTED};
  const {{ createPicker }} = await import("/picker.js");
  const begin = performance.now();
  const picker = createPicker(document.getElementById("here"), {{ hours: 2, onRent() {{}} }});
  picker.setOffers(rows);
  await painted();
  return performance.now() - begin;
}}"""
PLAIN = f"""async (rows) => {{
  const painted = {PAINTED};
  const begin = performance.now();
  const table = document.createElement("table");
  for (const row of rows) {{
    const line = table.insertRow();
    for (const key of ["gpus", "gpu", "vram_gb", "provider", "region", "trust", "usd_h", "total_usd"])
      line.insertCell().textContent = row[key] ?? "";
  }}
  const find = document.createElement("input");
  find.className = "gpunb-find";
  find.addEventListener("input", () => {{
    const words = find.value.toLowerCase().split(" ").filter(Boolean);
    for (const line of table.rows) {{
      const text = line.textContent.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
    }}
  }});
  document.getElementById("here").append(find, table);
  await painted();
  return performance.now() - begin;
}}"""
KEYSTROKES = f"""async ([selector, text]) => {{
  const painted = {PAINTED};
  const find = document.querySelector(selector);
  const times = [];
  for (let end = 1; end <= text.length; end += 1) {{
    const begin = performance.now();
    find.value = text.slice(0, end);
    find.dispatchEvent(new Event("input", {{ bubbles: true }}));
    await painted();
    times.push(performance.now() - begin);
  }}
  return times;
}}"""
SCROLL = f"""async () => {{
  const painted = {PAINTED};
  const grid = document.querySelector(".gpunb-grid");
  const times = [];
  for (let at = 1; at <= 20; at += 1) {{
    const begin = performance.now();
    grid.scrollTop = (grid.scrollHeight / 21) * at;
    await painted();
    times.push(performance.now() - begin);
  }}
  return times;
}}"""
PANEL = f"""async (sessions) => {{
  const painted = {PAINTED};
  const {{ createPanel }} = await import("/panel.js");
  const begin = performance.now();
  const panel = createPanel(document.getElementById("here"), {{ onAction() {{}} }});
  panel.update(sessions);
  await painted();
  const first = performance.now() - begin;
  const again = performance.now();
  panel.update(sessions.map((one) => ({{ ...one, cost: {{ total: one.cost.total + 1 }} }})));
  await painted();
  return [first, performance.now() - again];
}}"""


def run(options: Options) -> Report:
    """Paint, filter and scroll 10,000 offers; paint and update 200 sessions."""
    from playwright.sync_api import sync_playwright

    report = Report()
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        report.notes.append("no Chromium here: nothing was painted (apt-get install chromium)")
        return report
    rows, sessions = _offers(OFFERS), _sessions(SESSIONS)
    times: dict[str, list[float]] = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        try:
            for _ in range(options.rounds(ROUNDS)):
                _take(times, _page(browser, lambda page: _picker(page, rows)))
                _take(times, _page(browser, lambda page: _plain(page, rows)))
                _take(times, _page(browser, lambda page: _panel(page, sessions)))
        finally:
            browser.close()
    for name, samples in times.items():
        report.results.append(Result(name=name, samples=samples, unit="ms"))
    limits = {"picker: first paint": FIRST_MS, "picker: keystroke": KEY_MS, "panel: first paint": FIRST_MS}
    for name, limit in limits.items():
        report.bars.append(Bar(name=name, value=median(times[name]), limit=limit, unit="ms"))
    slowest = max(times["picker: keystroke"])
    report.notes.append(f"{OFFERS:,} offers, {SESSIONS} sessions; slowest keystroke {slowest:.0f} ms")
    return report


def _page(browser: Browser, work: Callable[[Page], dict[str, list[float]]]) -> dict[str, list[float]]:
    """A fresh page with the widgets' styles, and what `work` measures in it."""
    static = files("gpunb.notebook.widgets") / "static"
    shell = (
        '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/picker.css">'
        '<link rel="stylesheet" href="/panel.css"><div id="here"></div>'
    )

    def serve(route: Any) -> None:
        name = route.request.url.removeprefix(ORIGIN).lstrip("/")
        if name.endswith((".css", ".js")):
            kind = "text/css" if name.endswith(".css") else "text/javascript"
            route.fulfill(body=(static / name).read_text("utf-8"), content_type=kind)
        elif name:
            route.fulfill(status=204, body="")
        else:
            route.fulfill(body=shell, content_type="text/html")

    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(120_000)
    try:
        page.route("**/*", serve)
        page.goto(ORIGIN + "/")
        return work(page)
    finally:
        page.close()


def _picker(page: Page, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {
        "picker: first paint": [page.evaluate(PICKER, rows)],
        "picker: keystroke": page.evaluate(KEYSTROKES, [".gpunb-find", KEYS]),
        "picker: scroll": page.evaluate(SCROLL),
    }


def _plain(page: Page, rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {
        "plain table: first paint": [page.evaluate(PLAIN, rows)],
        "plain table: keystroke": page.evaluate(KEYSTROKES, [".gpunb-find", KEYS]),
    }


def _panel(page: Page, sessions: list[dict[str, Any]]) -> dict[str, list[float]]:
    first, again = page.evaluate(PANEL, sessions)
    return {"panel: first paint": [first], "panel: update of all": [again]}


def _take(times: dict[str, list[float]], found: dict[str, list[float]]) -> None:
    for name, samples in found.items():
        times.setdefault(name, []).extend(samples)


def _offers(count: int) -> list[dict[str, Any]]:
    dice = random.Random(11)  # the same rows each time
    gpus = [
        ("H100 SXM", 80, 2.4),
        ("H200", 141, 3.4),
        ("RTX 4090", 24, 0.35),
        ("L40S", 48, 0.9),
        ("B200", 192, 5.5),
    ]
    rows = []
    for at in range(count):
        gpu, vram, price = dice.choice(gpus)
        many = dice.choice([1, 1, 2, 4, 8])
        usd_h = round(price * many * dice.uniform(0.7, 1.6), 4)
        provider = dice.choice(["vast", "deepinfra", "fluence", "sesterce"])
        rows.append(
            {
                "key": f"{provider}/on-demand/{at}",
                "provider": provider,
                "offer_id": str(at),
                "gpu": gpu,
                "gpus": many,
                "vram_gb": float(vram),
                "region": dice.choice(["US", "DE", "SE", "JP", "CA", "NO"]),
                "country": "",
                "spot": dice.random() < 0.2,
                "trust": dice.choice(["stranger", "datacenter"]),
                "cpu": "AMD EPYC 7763 64-Core Processor",
                "usd_h": usd_h,
                "total_usd": usd_h * 2,
                "reliability": round(dice.uniform(0.9, 1.0), 4),
                "ready_s": round(dice.uniform(40, 600), 1),
                "why": f"${usd_h * 2:.2f} for 2 h: machine; ready in about 2 min: boot 90 s (usual)",
            }
        )
    return rows


def _sessions(count: int) -> list[dict[str, Any]]:
    lease = {"deadline": 2e9, "idle_s": 1800.0, "idle_ends": 1.9e9, "budget_usd": 12.0, "soon": False}
    return [
        {
            "id": f"s{at}",
            "name": f"train-{at}",
            "provider": "vast",
            "state": "ready",
            "tone": "ok",
            "gpu": "H100 SXM",
            "gpus": 2,
            "trust": "stranger",
            "usd_h": 4.8,
            "cost": {"total": 3.2},
            "lease": lease,
            "created": 1.7e9,
            "ready": 1.7e9,
            "runs_active": 0,
            "next": "%%gpu at the top of a cell runs it there",
        }
        for at in range(count)
    ]
