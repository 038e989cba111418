"""The project's folder around cells, in a real kernel with a live local session."""

from __future__ import annotations

import os

import pytest
from support.machines.browser import Browser

pytestmark = pytest.mark.slow


def test_here_binds_and_later_cells_are_in_the_folder(rented, work):
    (work / "x.txt").write_text("one")
    outcome = rented.run("%%gpu --here\nprint(open('x.txt').read())")
    assert outcome.text == "one\n", outcome.error
    (work / "x.txt").write_text("two")
    outcome = rented.run("%%gpu\nprint(open('x.txt').read()); open('y.txt', 'w').write('from there')")
    assert outcome.status == "ok", outcome.error
    assert outcome.text.startswith("two\n")
    assert (work / "y.txt").read_text() == "from there"
    assert "1 file came back" in outcome.plain + outcome.error + outcome.text
    # a cell that raises has written, too
    outcome = rented.run("%%gpu\nopen('z.txt', 'w').write('z'); 1 / 0")
    assert outcome.ename == "ZeroDivisionError"
    assert (work / "z.txt").read_text() == "z"
    # where a cell goes, the next one is, as in any kernel
    rented.run("%%gpu\nimport os; os.makedirs('deep', exist_ok=True); os.chdir('deep')")
    outcome = rented.run("%%gpu\nprint(os.path.basename(os.getcwd()))")
    assert outcome.text.startswith("deep\n")
    # a cell that deletes the folder: nothing is deleted here, and the next cell finds it again
    outcome = rented.run("%%gpu\nimport shutil; top = os.path.dirname(os.getcwd()); shutil.rmtree(top)")
    assert (work / "x.txt").read_text() == "two"
    outcome = rented.run("%%gpu\nprint(open('x.txt').read())")
    assert outcome.text.startswith("two\n"), outcome.error
    # unbound: nothing goes and nothing comes
    outcome = rented.run("%%gpu --no-here\nopen('later.txt', 'w').write('there')")
    assert outcome.status == "ok", outcome.error
    assert not (work / "later.txt").exists()


def test_a_button_brings_what_was_too_big_to_come_back(rented, work):
    page = Browser(rented.client)
    shown = page.run("%%gpu --here\nopen('huge.bin', 'wb').truncate(65 << 20); open('s.txt', 'w').write('s')")
    assert (work / "s.txt").exists()
    assert not (work / "huge.bin").exists()
    row = [one["content"]["data"] for one in shown if "s.txt" not in str(one) and "huge.bin" in str(one)][-1]
    assert "stays there; to bring it: %gpu sync demo:" in row["text/plain"], "without widgets the text stays"
    button = page.named("ButtonModel")
    assert page.models[button]["tooltip"].startswith("%gpu sync demo:work/huge.bin ")
    # it fails: that is shown, and it can be pressed again; from whichever folder
    away = "%%gpu --no-here\nimport os; os.chdir(os.path.expanduser('~/work')); os.rename('huge.bin', 'away')"
    page.run(away)
    assert "error" in click(page, button)
    assert not page.models[button]["disabled"]
    page.run("%%gpu\nos.rename('away', 'huge.bin')")
    page.run("import os; os.chdir('/')")
    assert "display_data" in click(page, button)
    assert (work / "huge.bin").stat().st_size == 65 << 20
    assert page.models[button]["disabled"]


def click(page, button):
    """The kinds of messages that a click has led to."""
    message = page.send(button, {"method": "custom", "content": {"event": "click"}})
    return {one["msg_type"] for one in page.follow(message)}


def test_a_notebook_below_the_projects_folder_is_below_it_there(rented, work):
    (work / "gpunb.toml").write_text("")
    (work / "data").mkdir()
    (work / "data" / "x.txt").write_text("data")
    (work / "notebooks").mkdir()
    assert rented.run("import os; os.chdir('notebooks')").status == "ok"
    code = "%%gpu --here\nprint(open('../data/x.txt').read()); open('result.txt', 'w').write('r')"
    outcome = rented.run(code)
    assert outcome.text.startswith("data\n"), outcome.error
    assert (work / "notebooks" / "result.txt").read_text() == "r"


def test_sync_means_the_same_for_cells_and_jobs(rented, work):
    (work / "src").mkdir()
    (work / "src" / "x.txt").write_text("inside")
    (work / "src" / "show.py").write_text("import os; print(open('x.txt').read(), os.getcwd())")
    cell = rented.run("%%gpu --sync src\nimport os\nprint(open('x.txt').read(), os.getcwd())")
    assert cell.status == "ok", cell.error
    job = rented.run("%gpu run show.py --sync src")
    assert job.status == "ok", job.error
    assert cell.text.split()[1] in job.text
    assert rented.run("%%gpu --sync src --here\n1").error.count("one of --here and --sync") == 1


def test_home_is_never_bound(rented, work):
    outcome = rented.run("%gpu on --here") if work == os.path.expanduser("~") else None
    assert outcome is None
    rented.run(f"import os; os.environ['HOME'] = {str(work)!r}")
    outcome = rented.run("%%gpu --here\nprint('ran')")
    assert "your home folder" in outcome.error
    assert "ran" not in outcome.text
