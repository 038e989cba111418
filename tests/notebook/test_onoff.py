"""``%gpu on``: plain cells on the host, in a real kernel, and the key presses that ask it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from support.story import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.kernel import Notebook

pytestmark = pytest.mark.slow

WHERE = "import os\nprint(os.environ['HOME'])"
HERE = os.path.expanduser("~")


@pytest.fixture
def on(rented: Notebook) -> Notebook:
    outcome = rented.run("%gpu on")
    assert outcome.status == "ok", outcome.error
    assert "demo" in outcome.plain
    return rented


def test_plain_cells_go_there_until_off(on: Notebook) -> None:
    there = on.run(WHERE).text.strip()
    assert there != HERE
    assert on.run("x = 21\nx * 2").bundles[-1]["text/plain"] == "42"
    assert on.run("%%local\n" + WHERE).text.strip() == HERE
    assert on.run("%%local\n1 + 1").bundles[-1]["text/plain"] == "2"
    assert on.run("%%local\nx").ename == "NameError"
    assert on.run("!echo $HOME").text.strip() == there
    assert "Wall time" in on.run("%%time\nprint(x)").text
    assert on.run("%%gpu\nprint(x)").text.strip() == "21"
    assert on.run("\n\n").status == "ok"
    off = on.run("%gpu off")
    assert "run here again" in off.plain
    assert on.run(WHERE).text.strip() == HERE
    assert "already" in on.run("%gpu off").plain


def test_lines_of_ours_stay_here_and_split_a_cell(on: Notebook) -> None:
    mixed = on.run("y = 5\nshown = %gpu ps --json\nprint('y is', y)\n%gpu ps")
    assert mixed.status == "ok", mixed.error
    assert "y is 5" in mixed.text
    assert "demo" in mixed.plain
    assert on.run("%%local\nprint(shown.data()[0]['name'])").text.strip() == "demo"
    assert on.run('text = """\n%gpu off\n"""\nprint(text.strip())').text.strip() == "%gpu off"
    switched = on.run(f"{WHERE}\n%gpu off\n{WHERE}\n%gpu on\n{WHERE}")
    there, here, again = switched.text.split()
    assert here == HERE
    assert there == again != HERE
    assert on.run("import os\nos.environ['HOME'] != " + repr(HERE)).bundles[-1]["text/plain"] == "True"


def test_an_error_fails_the_cell_with_the_remote_traceback(on: Notebook) -> None:
    failed = on.run("def f():\n    return 1 / 0\nf()")
    assert failed.status == "error"
    assert "ZeroDivisionError" in failed.error
    assert "f()" in failed.error
    assert "run_cell_magic" not in failed.error
    assert on.run("print('goes on')").text.strip() == "goes on"
    cut = on.run("%gpu ps\n1 / 0\nprint('not reached')")
    assert cut.status == "error"
    assert "not reached" not in cut.text


def test_tab_shift_tab_and_history_answer_from_the_host(on: Notebook) -> None:
    on.run("class Remote:\n    '''Only there.'''\n    answer_of_it = 42\nremote_thing = Remote()")
    # a Tab waits 5 s at most, and the first look of jedi at the builtins may take longer there
    assert wait_for(lambda: on.complete("remote_thi")) == ["remote_thing"]
    assert "remote_thing.answer_of_it" in on.complete("remote_thing.ans")
    assert on.complete("%%gpu\nremote_thi") == ["%%gpu\nremote_thing"]
    assert "%gpu offers" in on.complete("%gpu off")
    told = on.client.inspect("remote_thing", reply=True, timeout=30)["content"]
    assert told["found"]
    assert "Only there." in told["data"]["text/plain"]
    past = on.client.history(raw=True, hist_access_type="tail", n=5, reply=True, timeout=30)["content"]
    assert any("Only there." in entry[2] for entry in past["history"])
    # `?` shows in the pager, as it would here
    message = on.client.execute("remote_thing?")
    reply = on.client.get_shell_msg(timeout=60)
    assert reply["parent_header"]["msg_id"] == message
    (page,) = [one for one in reply["content"]["payload"] if one["source"] == "page"]
    assert "Only there." in page["data"]["text/plain"]
    on.run("%%local\nlocal_thing = 1")
    on.run("%gpu off")
    assert on.complete("local_thi") == ["local_thing"]
    assert on.complete("remote_thi") == []


def test_a_busy_host_is_not_waited_for(on: Notebook) -> None:
    on.run("%%local\nlocal_thing = 1")
    assert on.run("%%gpu -d\nimport time\ntime.sleep(60)").status == "ok"
    began = time.monotonic()
    assert on.complete("local_thi") == ["local_thing"]
    assert time.monotonic() - began < 30
    on.run("%gpu cancel")


def test_a_front_ends_own_code_stays_here(on: Notebook) -> None:
    message = on.client.execute("hidden_code = 1", store_history=False)
    assert on.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] == message
    assert on.run("%%local\nprint(hidden_code)").text.strip() == "1"


def test_a_host_that_is_gone_fails_the_cell_and_never_runs_it_here(on: Notebook) -> None:
    assert on.run("%gpu down --yes").status == "ok"
    failed = on.run("print('ran here')")
    assert failed.status == "error"
    assert "ran here" not in failed.text
    assert "%gpu off runs plain cells here again" in failed.error
    on.run("%gpu off")
    assert on.run("print('ran here')").text.strip() == "ran here"


INNER = f"get_ipython().run_cell({WHERE!r});"
HOOK = f"""ip = get_ipython()
def hook(info):
    ip.events.unregister('pre_run_cell', hook)
    ip.run_cell({WHERE!r})
ip.events.register('pre_run_cell', hook)
ip.run_cell('1');"""
LOCAL = [  # ways in which a running cell gives IPython text to run once more
    f"%%time\n{WHERE}",
    f"%%timeit -n1 -r1\n{WHERE}",
    f"%%prun -q\n{WHERE}",
    f"%%capture cap\n{WHERE}\n",
    f"%time {WHERE.splitlines()[0]}; {WHERE.splitlines()[1]}",
    INNER,
    f"get_ipython().run_cell_magic('time', '', {WHERE!r})",
    f"%%time\n{INNER}",
    "%run part.ipy",
    "from other import part\npart(get_ipython())",
    f"async def job():\n    {INNER}\nawait job()",
    HOOK,
]


def test_local_holds_for_all_that_the_cell_runs(on: Notebook, work: Path) -> None:
    (work / "part.ipy").write_text(WHERE + "\n")
    (work / "other.py").write_text(f"def part(ip):\n    ip.run_cell({WHERE!r})\n")
    for cell in LOCAL:
        told = on.run(f"%%local\n{cell}")
        assert told.status == "ok", (cell, told.error)
        text = told.text if "capture" not in cell else on.run("%%local\nprint(cap.stdout)").text
        assert HERE in text.split(), (cell, text)
        assert not [line for line in text.split() if line.startswith("/") and line != HERE], (cell, text)
    on.run("%%local\n%%time\napi_key = 'only-here'")
    assert on.run("'api_key' in globals()").bundles[-1]["text/plain"] == "False"
    assert on.run("%%local\n'api_key' in globals()").bundles[-1]["text/plain"] == "True"


def test_the_mark_holds_below_comments_and_other_magics(on: Notebook) -> None:
    for cell in (
        f"# not there\n\n%%local\n{WHERE}",
        f"%%local  # keys stay here\n{WHERE}",
        f"%%time\n%%local\n{WHERE}",
        f"# a\n%%local\n%%time\n{WHERE}",
        f"\n  %%local\n  {WHERE.splitlines()[0]}\n  {WHERE.splitlines()[1]}",
    ):
        assert HERE in on.run(cell).text.split(), cell
    for cell in (f"# a comment\n%%gpu\n{WHERE}", f"%%time\n%%gpu\n{WHERE}"):
        for line in ("%gpu on", "%gpu off"):
            on.run(line)
            told = on.run(cell)
            assert told.status == "ok", (cell, told.error)
            assert HERE not in told.text.split(), cell


def test_what_a_callback_or_a_thread_runs_stays_here(on: Notebook) -> None:
    on.run(
        "%%local\nimport asyncio, os, threading\nseen = []\nprobe = 'seen.append(os.environ[\"HOME\"])'\n"
        "asyncio.get_event_loop().call_later(0.2, get_ipython().run_cell, probe)\n"
        "thread = threading.Timer(0.2, get_ipython().run_cell, [probe])\nthread.start()"
    )
    on.run("%%local\nthread.join()\nimport asyncio\nawait asyncio.sleep(0.5)")
    assert set(on.run("%%local\nprint(*seen)").text.split()) == {HERE}


def test_a_block_with_a_line_of_ours_stays_here(on: Notebook) -> None:
    block = on.run(
        f"{WHERE}\nif True:\n    pass\nfor word in ('ps', 'runs'):\n    shown = %gpu ps --json\n{WHERE}"
    )
    assert block.status == "ok", block.error
    first, again = block.text.split()
    assert first == again != HERE
    assert on.run("%%local\nprint(word, shown.data()[0]['name'])").text.split() == ["runs", "demo"]
    text = on.run('text = """\n    %gpu off\n"""\nprint(text.strip())')
    assert text.text.strip() == "%gpu off"
    tried = on.run("try:\n    %gpu off\nexcept Exception:\n    raise\nelse:\n    print('switched')")
    assert tried.status == "ok", tried.error
    assert "switched" in tried.text
    assert on.run(WHERE).text.strip() == HERE


def test_reloading_keeps_it_and_unloading_says_so(on: Notebook) -> None:
    assert on.run("%reload_ext gpunb").status == "ok"
    there = on.run(WHERE).text.strip()
    assert there != HERE
    on.run("x_there = 1")
    assert wait_for(lambda: on.complete("x_the")) == ["x_there"]  # the first answer imports jedi there
    told = on.run("%unload_ext gpunb")
    assert "run here again, no longer on demo" in told.text


def test_unloading_ends_it(on: Notebook) -> None:
    assert on.run("%unload_ext gpunb").status == "ok"
    assert on.run(WHERE).text.strip() == HERE
    assert on.run("%load_ext gpunb").status == "ok"
    assert on.run(WHERE).text.strip() == HERE
