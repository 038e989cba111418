"""Packages, local modules, notices and load, in a real kernel with a live local session."""

from __future__ import annotations

import time
from queue import Empty

import pytest

pytestmark = pytest.mark.slow


def updates(notebook, seconds, check):
    """What outputs are brought up to date with after their cells have ended, until `check` likes one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            item = notebook.client.get_iopub_msg(timeout=0.5)
        except Empty:
            continue
        if item["msg_type"] == "update_display_data":
            text = item["content"]["data"]["text/plain"]
            if check(text):
                return text
    raise AssertionError("no such update")


def test_a_missing_module_names_the_line_that_installs_it(rented):
    code = "%%gpu\nraise ModuleNotFoundError(\"No module named 'dateutil'\", name='dateutil')"
    outcome = rented.run(code)
    assert outcome.ename == "ModuleNotFoundError"
    assert "next: %gpu pip install python-dateutil==" in outcome.error
    outcome = rented.run("%gpu pip --help")
    assert outcome.status == "ok", outcome.error


def test_local_modules_go_along_when_they_changed(rented, work):
    (work / "helpers.py").write_text("def answer():\n    return 41\n")
    (work / "kit").mkdir()
    (work / "kit" / "__init__.py").write_text("")
    (work / "kit" / "part.py").write_text("size = 1\n")
    outcome = rented.run("%%gpu\nimport helpers")
    assert "helpers lies in this folder" in outcome.error
    code = "%%gpu --sync .\nimport helpers\nfrom kit import part\nprint(helpers.answer(), part.size)"
    outcome = rented.run(code)
    assert outcome.status == "ok", outcome.error
    assert outcome.text == "41 1\n"
    (work / "helpers.py").write_text("def answer():\n    return 42  # changed\n")
    (work / "kit" / "part.py").write_text("size = 10_000\n")
    assert rented.run(code).text == "42 10000\n"
    assert rented.run("%%gpu\nhelpers.mark = 'mine'").status == "ok"
    outcome = rented.run("%%gpu --sync .\nimport helpers\nprint(helpers.mark)")
    assert outcome.text == "mine\n"  # nothing changed: the module is the same
    assert "no/such" in rented.run("%%gpu --sync no/such\n1").error


def test_the_end_of_a_detached_job_is_shown_in_its_cell(rented):
    outcome = rented.run("%gpu run --shell 'sleep 2; exit 3' --name nap -d")
    assert outcome.status == "ok", outcome.error
    assert "runs on demo" in outcome.plain
    text = updates(rented, 30, lambda text: "ended" in text)
    assert "(nap) on demo ended error" in text
    assert "exit code 3" in text


def test_top_goes_on_after_its_cell(rented):
    outcome = rented.run("%gpu top --for 6s")
    assert outcome.status == "ok", outcome.error
    assert "memory" in outcome.plain
    assert "memory" in updates(rented, 20, lambda text: True)
    assert "no longer" in updates(rented, 30, lambda text: "no longer" in text)


def test_replay_shows_pictures_and_results_again(rented):
    code = (
        "%%gpu\nfrom IPython.display import HTML, display\nprint('once')\ndisplay(HTML('<b>fat</b>'))\n6 * 7"
    )
    assert rented.run(code).status == "ok"
    outcome = rented.run("%gpu logs --rich")
    assert outcome.text == "once\n"
    assert "<b>fat</b>" in outcome.html
    assert "42" in outcome.plain


def test_autoreload_brings_synced_modules_and_their_objects_up_to_date(rented, work):
    text = "class Net:\n    def layers(self):\n        return {}\n"
    (work / "nets.py").write_text(text.format(2))
    (work / "plain.py").write_text("VALUE = 1\n")
    for level, named in ((2, ""), (1, "%aimport nets\n")):
        (work / "nets.py").write_text(text.format(level))
        made = f"%reload_ext autoreload\n%autoreload {level}\n{named}from nets import Net\nnet = Net()"
        assert rented.run(f"%%gpu --sync .\n{made}\nprint(net.layers())").text.strip() == str(level)
        (work / "nets.py").write_text(text.format(30 + level))
        used = "import pickle\nprint(net.layers(), Net().layers(), pickle.loads(pickle.dumps(net)).layers())"
        told = rented.run(f"%%gpu --sync .\n{used}")
        assert told.text.split() == [str(30 + level)] * 3, (level, told)
    rented.run("%%gpu\n%autoreload 0")
    rented.run("%%gpu --sync .\nimport plain")
    (work / "plain.py").write_text("VALUE = 23\n")
    assert rented.run("%%gpu --sync .\nimport plain\nprint(plain.VALUE)").text.strip() == "23"
