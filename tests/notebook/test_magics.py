"""%gpu and %%gpu in a real kernel, on a real local host."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.machines.kernel import Notebook

pytestmark = pytest.mark.slow


def run_id(notebook: Notebook) -> str:
    shown = notebook.run("r = %gpu runs --json\nprint(r.data()[0]['id'])")
    return shown.text.strip().splitlines()[-1]


def test_the_whole_story(rented: Notebook, work: Path) -> None:
    (work / "data").mkdir()
    (work / "data" / "n.txt").write_text("1 2 3")
    (work / "train.py").write_text(
        "import pathlib; pathlib.Path('out.txt').write_text('42'); print('trained')"
    )
    assert rented.run("%gpu sync data :data").status == "ok"
    cell = rented.run(
        "%%gpu\nx = sum(int(n) for n in open('data/n.txt').read().split())\nprint('sum', x)\nx * 2"
    )
    assert cell.status == "ok", cell.error
    assert "sum 6" in cell.text
    assert cell.bundles[-1]["text/plain"] == "12"
    assert "7" in rented.run("%%gpu\nprint(x + 1)").text
    shown = rented.run("%gpu")
    assert "demo" in shown.plain
    assert "<table" in shown.html
    assert "trained" in rented.run("%gpu run train.py").text
    assert "trained" in rented.run("%gpu logs").text
    assert rented.run("%gpu sync :out.txt out.txt").status == "ok"
    assert (work / "out.txt").read_text() == "42"
    assert "6" in rented.run("%gpu get x\n").plain + rented.run("x").plain
    down = rented.run("%gpu down --yes")
    assert down.status == "ok", down.error
    assert "receipt: demo" in down.plain
    assert own_hosts.instances() == []


def test_an_answer_is_shown_once_as_html_with_its_text(rented: Notebook) -> None:
    for line in ("%gpu", "%gpu show", f"%gpu offers --cloud {own_hosts.CLOUD}"):
        shown = rented.run(line)
        assert len(shown.bundles) == 1, line
        assert "<table" in shown.bundles[0]["text/html"]
        assert own_hosts.CLOUD in shown.bundles[0]["text/plain"]


@own_hosts.only_local
def test_a_new_kernel_is_told_before_its_first_name_error(rented: Notebook) -> None:
    """After stop and start; and the session as the first word of the verbs that a notebook types."""
    assert "new kernel" not in rented.run("%%gpu\nx = 1").text
    assert "demo lives on" in rented.run("%gpu extend demo 1h").bundles[0]["text/plain"]
    for line in ("%gpu stop demo --yes", "%gpu start demo --yes", "%gpu on demo"):
        done = rented.run(line)
        assert done.status == "ok", done.error
    failed = rented.run("print(x)")
    assert failed.ename == "NameError"
    assert "demo has a new kernel: its variables are empty" in failed.text
    assert rented.run("%gpu off").status == "ok"
    assert "new kernel" not in rented.run("%%gpu\nx = 2").text


def test_variables_there_and_back(rented: Notebook) -> None:
    rented.run("import numpy as np\na = np.arange(6).reshape(2, 3)\nlabel = 'here'")
    cell = rented.run("%%gpu -i a,label -o b -o note\nb = a * 2\nnote = label + ' and back'")
    assert cell.status == "ok", cell.error
    assert "here and back" in rented.run("print(note, b.tolist())").text
    assert "[[0, 2, 4], [6, 8, 10]]" in rented.run("print(b.tolist())").text
    assert rented.run("%gpu put label").status == "ok"


def test_an_own_host_may_send_what_only_a_pickle_carries(rented: Notebook) -> None:
    made = rented.run("%%gpu -o odd\nodd = {1, 2}")
    assert made.status == "ok", made.error
    assert "{1, 2}" in rented.run("print(odd)").text


def test_what_cannot_travel_is_named_and_nothing_is_sent(rented: Notebook) -> None:
    rented.run("import threading\nlock = threading.Lock()\nfine = 1")
    failed = rented.run("%%gpu -i fine,lock\nprint('not reached')")
    assert (failed.status, failed.ename) == ("error", "VariableError")
    assert "'lock'" in failed.error
    assert "not reached" not in failed.text
    assert rented.run("%%gpu\nprint('fine' in globals())").text.strip() == "False"
    failed = rented.run("%gpu put fien")
    assert "did you mean fine" in failed.error
    failed = rented.run("%%gpu -o nothing_there\npass")
    assert failed.status == "error"
    assert "nothing_there" in failed.error


def test_the_body_is_left_as_it_is(rented: Notebook) -> None:
    body = "name = 'N'\nprint('{name} $name {{}} %d' % 3, f'{name}')\n# {broken"
    assert "{name} $name {{}} 3 N" in rented.run(f"%%gpu\n{body}").text


def test_a_remote_error_is_shown_once_and_fails_the_cell(rented: Notebook) -> None:
    failed = rented.run("%%gpu\nprint('before')\ndef f():\n    return 1 / 0\nf()")
    assert (failed.status, failed.ename) == ("error", "ZeroDivisionError")
    assert "before" in failed.text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", failed.error)
    assert plain.count("ZeroDivisionError: division by zero") == 1
    assert "return 1 / 0" in plain
    assert "gpunb" not in plain.replace("gpunb-", "")


def test_expected_failures_take_one_line_and_a_hint(notebook: Notebook) -> None:
    for line, words in [
        ("%gpu rnt", ["BadInput", "no verb 'rnt'", "did you mean rent"]),
        ("%gpu ps --al", ["no option --al", "--all"]),
        ("%gpu show nope", ["SessionNotFound", "'nope'", "%gpu rent"]),
        ("%gpu run 'missing", ["can't be split"]),
        ("%%gpu\nx = 1", ["SessionNotFound", "%gpu rent"]),
        ("%%gpu --tiemout 5m\nx = 1", ["no option --tiemout", "--timeout"]),
        ("%%gpu --timeout 5\nx = 1", ["--timeout", "'5'", "90m"]),
        ("%%gpu -o a.b\nx = 1", ["'a.b'", "variable's name"]),
        ("%%gpu -d -o a\nx = 1", ["--detach", "%gpu get a"]),
        ("%%gpu\n\n", ["nothing to run"]),
    ]:
        failed = notebook.run(line)
        assert failed.status == "error", line
        plain = re.sub(r"\x1b\[[0-9;]*m", "", failed.error)
        for word in words:
            assert word in plain, (line, plain)
        assert "Traceback" not in plain
        assert len(plain.splitlines()) <= 3


def test_help_in_the_notebook(notebook: Notebook) -> None:
    assert "%gpu rent --name demo" in notebook.run("%gpu rent -h").text
    for line in ("%gpu -h", "%%gpu -h\npass"):
        shown = notebook.run(line)
        assert shown.status == "ok"
        assert "%%gpu -i x_train,y_train -o accuracy" in shown.text


def test_several_sessions_ask_with_the_line_to_type(rented: Notebook) -> None:
    assert rented.run("%gpu rent --name other --for 30m").status == "ok"
    asked = rented.run("%%gpu --timeout 5m\nprint(1)")
    assert asked.ename == "SessionAmbiguous"
    assert "demo" in asked.error
    assert "other" in asked.error
    assert "%%gpu -s other --timeout 5m" in asked.error, "the one that was rented here last"
    assert "%gpu exec -s other -- true" in rented.run("%gpu exec -- true").error
    cell = rented.run("%%gpu -s other\nimport os; print('on', os.path.basename(os.getcwd()))")
    assert cell.status == "ok", cell.error
    assert rented.run("%gpu down --all --yes").status == "ok"


def test_interrupt_reaches_the_host(rented: Notebook) -> None:
    message = rented.start("%%gpu\nimport time\nprint('started', flush=True)\ntime.sleep(600)")
    seen = rented.follow(message, until=lambda outcome: "started" in outcome.text)
    rented.interrupt()
    seen = rented.follow(message, outcome=seen)
    assert seen.status == "error"
    assert "KeyboardInterrupt" in seen.error
    assert rented.run("%%gpu\nprint('still here', time.__name__)").text.strip() == "still here time"


def test_timeout_and_detach(rented: Notebook) -> None:
    late = rented.run("%%gpu --timeout 1s\nimport time\ntime.sleep(600)")
    assert late.ename == "RunTimeout"
    started = rented.run(
        "%%gpu --detach --name background\nimport time\n"
        "for i in range(5):\n    print('n', i, flush=True)\n    time.sleep(.1)"
    )
    assert started.status == "ok"
    assert "%gpu attach" in started.plain
    played = rented.run("%gpu attach")
    assert [line for line in played.text.splitlines() if line.startswith("n ")] == [
        f"n {i}" for i in range(5)
    ]
    assert "background" in rented.run("%gpu runs").plain


def test_input_display_updates_and_figures(rented: Notebook) -> None:
    asked = rented.run("%%gpu\nname = input('who? ')\nprint('hello', name)", answer="Ada")
    assert "hello Ada" in asked.text
    shown = rented.run(
        "%%gpu\nfrom IPython.display import display, HTML\n"
        "h = display(HTML('<b>0</b>'), display_id=True)\n"
        "for i in range(3):\n    h.update(HTML(f'<b>{i}</b>'))"
    )
    assert shown.updates == 3
    assert "<b>0</b>" in shown.html


def test_exit_codes_fail_the_cell(rented: Notebook) -> None:
    assert rented.run("%gpu exec -- true").status == "ok"
    failed = rented.run("%gpu exec -- sh -c 'echo said; exit 3'")
    assert failed.status == "error"
    assert "said" in failed.text
    assert "3" in failed.error
    failed = rented.run("%gpu run --shell 'exit 5'")
    assert failed.ename == "JobFailed"


def test_another_kernel_plays_the_cell_whole(rented: Notebook, new_notebook: Callable[[], Notebook]) -> None:
    code = (
        "%%gpu --name long\nimport time\nfor i in range(40):\n    print('line', i, flush=True)\n"
        "    time.sleep(0.05)\nprint('the end')"
    )
    message = rented.start(code)
    rented.follow(message, until=lambda outcome: "line 5" in outcome.text)
    rented.kill()
    second = new_notebook()
    shown = second.run("%gpu ps")
    assert "demo" in shown.html
    assert "long" in shown.html
    run = run_id(second)
    assert run in shown.html
    played = second.run(f"%gpu attach {run}")
    assert played.status == "ok", played.error
    assert [line for line in played.text.splitlines() if line.startswith("line")] == [
        f"line {i}" for i in range(40)
    ]
    assert "the end" in played.text
    assert "long" not in second.run("%gpu ps").plain
    assert second.run("%gpu down --yes").status == "ok"


def test_host_dies_between_cells(rented: Notebook) -> None:
    assert rented.run("%%gpu\nx = 1").status == "ok"
    (instance,) = own_hosts.instances()
    own_hosts.provider().destroy(instance.id)
    failed = rented.run("%%gpu --name late\nprint(x)", seconds=110)
    assert failed.status == "error"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", failed.error)
    assert "Traceback" not in plain
    assert rented.run("%gpu ps").status == "ok"
    ended = rented.run("%gpu down --yes", seconds=110)
    assert ended.status == "ok", ended.error


def test_completion(rented: Notebook) -> None:
    rented.run("%%gpu --name counted\npass")
    run = run_id(rented)
    assert "%gpu rent" in rented.complete("%gpu re")
    assert "%gpu rent --budget" in rented.complete("%gpu rent --bud")
    assert "%gpu show demo" in rented.complete("%gpu show de")
    assert f"%gpu logs {run}" in rented.complete(f"%gpu logs {run[:3]}")
    assert "%gpu rent --cloud local" in rented.complete("%gpu rent --cloud lo")
    assert "%gpu rent --gpu H100" in rented.complete("%gpu rent --gpu H10")
    rented.run("import os\nos.makedirs('src-data')\nopen('src.py', 'w').close()")
    assert {"%gpu run src.py", "%gpu run src-data/"} <= set(rented.complete("%gpu run sr"))
    assert "%gpu sync src-data/" in rented.complete("%gpu sync src-")
    assert rented.complete("%gpu run --sync sr") == ["%gpu run --sync src-data/"]
    assert "%%gpu --timeout" in rented.complete("%%gpu --time")
    assert "%%gpu -s demo" in rented.complete("%%gpu -s d")


def test_unload_and_load_again(rented: Notebook) -> None:
    assert rented.run("%%gpu\nkept = 5").status == "ok"
    assert rented.run("%unload_ext gpunb").status == "ok"
    assert rented.run("%gpu ps").status == "error"
    assert rented.run("%load_ext gpunb").status == "ok"
    assert rented.run("%%gpu\nprint(kept)").text.strip() == "5"


def test_a_result_is_data_too(rented: Notebook) -> None:
    rented.run("r = %gpu ps")
    shown = rented.run("import json\nprint(json.dumps([s['name'] for s in r.data()]))")
    assert json.loads(shown.text) == ["demo"]


def test_progress_updates_in_place_and_seldom(notebook: Notebook) -> None:
    shown = notebook.run(
        "import time\nfrom gpunb.cli.progress import shown\n"
        "with shown('work <b>', 'notebook') as p:\n"
        "    for i in range(2000):\n"
        "        p.say(f'step {i // 1000}')\n        p.advance(i, 2000, 'files')\n        time.sleep(.0005)\n"
    )
    assert shown.status == "ok", shown.error
    assert len(shown.bundles) == 1
    assert 2 <= shown.updates <= 60
    assert "work &lt;b&gt;" in shown.html
    kept = notebook.run(
        "with shown('work', 'notebook') as p:\n"
        "    p.say('a step')\n    time.sleep(.3)\n    raise OSError('x')"
    )
    assert "work: a step" in kept.plain


HERE_ONLY = """
import dataclasses, sys
from beside import Model
@dataclasses.dataclass
class Config:
    rate: float = 0.1
class Outer:
    class Inner: pass
def scale(x): return 2 * x
config, nested, function, model = Config(), Outer.Inner(), scale, Model()
"""


def test_what_only_one_end_can_make_is_named_with_its_remedy(rented: Notebook, work: Path) -> None:
    (work / "beside.py").write_text("class Model:\n    pass\n")
    assert rented.run(HERE_ONLY).status == "ok"
    for name, owner in (("config", "Config"), ("nested", "Outer"), ("function", "scale")):
        failed = rented.run(f"%%gpu -i {name}\npass")
        assert failed.status == "error"
        assert re.search(
            rf"next: {owner}[\w.]* is defined in a cell of this notebook.*put %%gpu above", failed.error
        )
        assert "pip install" not in failed.error
    assert "next: beside lies in this folder: %%gpu --sync ." in rented.run("%gpu put model").error
    assert rented.run("%%gpu --sync . -i model\nprint(type(model).__name__)").text.strip() == "Model"
    rented.run("%%gpu\nclass Result:\n    pass\nresult, again, accuracy = Result(), Result(), 0.98")
    for line in ("%gpu get result accuracy again", "%%gpu -o result,accuracy,again\npass"):
        rented.run("accuracy = None")
        failed = rented.run(line)
        assert (failed.status, failed.ename) == ("error", "VariableError")
        assert "accuracy arrived" in failed.error
        assert "next: Result is defined in a cell of this notebook: run that cell here, too" in failed.error
        assert len(failed.error.splitlines()) < 5
        assert rented.run("accuracy").bundles[-1]["text/plain"] == "0.98"
