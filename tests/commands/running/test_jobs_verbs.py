"""Jobs, notebooks, exports, ports and load, as typed in a terminal at a real local session."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support import smi

from gpunb.errors import RemoteCellError
from tests.support.machines import own_hosts

pytestmark = pytest.mark.slow


def wait_for(check, seconds=30.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not true within {seconds} s")


def host_folder(home) -> Path:
    return own_hosts.home_of(home)


def notebook(*cells, **metadata):
    """``(source, tags)`` or sources as a notebook's text."""
    book = nbformat.v4.new_notebook(metadata=metadata)
    for cell in cells:
        source, tags = cell if isinstance(cell, tuple) else (cell, [])
        book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags} if tags else {}))
    return nbformat.writes(book)


def outputs(cell):
    return [output.get("text") or output.get("data", {}).get("text/plain") for output in cell.outputs]


# -- notebooks


def test_a_notebook_by_papermills_rules(demo):
    Path("train.ipynb").write_text(
        notebook(
            "import os",
            ("lr = 1.0\nname = 'none'\nflag = False", ["parameters"]),
            "print(lr * 2, name, flag)",
            "lr + 1",
        )
    )
    ran = demo("run", "train.ipynb", "-p", "lr", "0.25", "-p", "flag", "True", "-r", "name", "007")
    assert ran.code == 0, ran.err
    assert "0.5 007 True" in ran.out
    book = nbformat.read("train.out.ipynb", as_version=4)
    nbformat.validate(book)
    assert [cell.metadata.get("tags", []) for cell in book.cells][1:3] == [
        ["parameters"],
        ["injected-parameters"],
    ]
    assert book.cells[2].source == "# Parameters\nlr = 0.25\nflag = True\nname = '007'"
    assert outputs(book.cells[3]) == ["0.5 007 True\n"]
    assert outputs(book.cells[4]) == ["1.25"]
    assert book.metadata.papermill.parameters == {"lr": 0.25, "flag": True, "name": "007"}
    assert book.metadata.papermill.exception is False
    assert [cell.metadata.papermill.status for cell in book.cells] == ["completed"] * 5
    # run once more: the injected cell is replaced, not doubled
    ran = demo("run", "train.out.ipynb", "-p", "lr", "2", "-o", "second.ipynb")
    assert ran.code == 0, ran.err
    book = nbformat.read("second.ipynb", as_version=4)
    assert len(book.cells) == 5
    assert outputs(book.cells[3]) == ["4 none False\n"]


WIDGETS = [
    "import ipywidgets as w\nslider = w.IntSlider(3)\nslider",
    "out = w.Output()\nwith out:\n    print('a'); print('b')\n    display('shown')\nprint('by')\nout",
    "with out:\n    1 / 0",
    "with out:\n    out.clear_output(); print('anew')\nslider.value = 5",
    "picture = w.Image(value=b'\\x89PNG', format='png')\npicture",
]


def test_a_notebook_comes_back_with_what_nbclient_keeps_of_it(demo):
    text = notebook(*WIDGETS)
    Path("widgets.ipynb").write_text(text)
    ran = demo("run", "widgets.ipynb")
    assert ran.code == 0, ran.err
    there = nbformat.read("widgets.out.ipynb", as_version=4)
    nbformat.validate(there)
    here = nbformat.reads(text, as_version=4)
    NotebookClient(here, kernel_name="python3").execute()
    assert there.metadata.language_info == here.metadata.language_info
    assert [outputs(cell) for cell in there.cells] == [outputs(cell) for cell in here.cells]
    assert _states(there) == _states(here)


def _states(book):
    """Each widget's kind, values, outputs and buffers; ids are made anew in each kernel."""
    found = []
    for one in book.metadata.widgets["application/vnd.jupyter.widget-state+json"].state.values():
        state = {key: value for key, value in one.state.items() if type(value) in (int, str, bool)}
        caught = [
            (each.output_type, each.get("text") or each.get("ename")) for each in one.state.get("outputs", [])
        ]
        state = {key: value for key, value in state.items() if not str(value).startswith("IPY_MODEL_")}
        buffers = [(each["path"], each["data"].strip()) for each in one.get("buffers", [])]
        found.append((one.model_name, state, caught, buffers))
    return found


def test_a_strangers_widget_state_is_made_harmless():
    from gpunb.services.running.notebook_jobs import harmless

    def model(kind, module="@jupyter-widgets/controls", buffers=(), **state):
        about = {"_model_module": module, "_model_name": kind, "_model_module_version": "2.0.0"}
        return {"state": {**about, **state}, "buffers": list(buffers)}

    picture = {"encoding": "base64", "path": ["value"], "data": "iVBORw=="}
    states = {
        "box": model("VBoxModel", children=["IPY_MODEL_good", "IPY_MODEL_bad"]),
        "good": model("HTMLModel", value="<b>x</b><script>y</script>"),
        "picture": model("ImageModel", buffers=[picture], format="png"),
        "bad": model("HTMLModel", "https://evil/x"),
        "proto": model("ImageModel", buffers=[{**picture, "path": ["__proto__", "x"]}]),
        "no base64": model("ImageModel", buffers=[{**picture, "data": 5}]),
        "odd": 5,
    }
    book = nbformat.v4.new_notebook()
    kind = "application/vnd.jupyter.widget-state+json"
    book.metadata["widgets"] = {kind: {"state": states}, "application/other": {"state": states}}
    harmless(book)
    (left,) = book.metadata["widgets"].values()
    assert set(left["state"]) == {"good", "picture"}
    assert left["state"]["picture"]["buffers"] == [picture]
    value = left["state"]["good"]["state"]["value"]
    assert "<b>x</b>" in value
    assert "script" not in value
    for nonsense in (
        "widgets",
        ["nonsense"],
        {kind: 5},
        {kind: {"state": [1]}},
        {kind: {"state": {"a": {}}}},
    ):
        book.metadata["widgets"] = nonsense
        harmless(book)
        assert "widgets" not in book.metadata


def test_a_notebook_that_fails_comes_back_too(demo):
    Path("bad.ipynb").write_text(
        notebook(
            ("1/0", ["raises-exception"]),
            "from IPython.display import display, update_display\nh = display('one', display_id='x')",
            "update_display('two', display_id='x')\nprint('gone')\nfrom IPython.display import clear_output\n"
            "clear_output()\nprint('kept')",
            "undefined_name",
            "print('never')",
        )
    )
    ran = demo("run", "bad.ipynb")
    assert ran.code == 1
    assert "exit code 1" in ran.err
    book = nbformat.read("bad.out.ipynb", as_version=4)
    nbformat.validate(book)
    assert book.cells[0].outputs[0].ename == "ZeroDivisionError"
    assert outputs(book.cells[1]) == ["'two'"]
    assert outputs(book.cells[2]) == ["kept\n"]
    assert book.cells[3].outputs[-1].ename == "NameError"
    assert book.cells[4].outputs == []
    states = [cell.metadata.papermill.status for cell in book.cells]
    assert states == ["failed", "completed", "completed", "failed", "pending"]
    assert book.metadata.papermill.exception is True


def test_a_notebook_whose_kernel_dies(demo):
    Path("dies.ipynb").write_text(notebook("import os\nprint('so far', flush=True)\nos.kill(os.getpid(), 9)"))
    ran = demo("run", "dies.ipynb")
    assert ran.code == 1
    book = nbformat.read("dies.out.ipynb", as_version=4)
    assert book.cells[0].outputs[-1].ename == "KernelDied"
    assert "SIGKILL" in book.cells[0].outputs[-1].evalue


def test_notebook_flags_that_make_no_sense(demo):
    Path("s.py").touch()
    Path("r.ipynb").write_text(notebook("1", kernelspec={"name": "ir", "display_name": "R", "language": "R"}))
    Path("broken.ipynb").write_text("{")
    Path("n.ipynb").write_text(notebook("1"))
    for words, said in [
        (("s.py", "-p", "lr", "1"), "-p is for notebooks"),
        (("n.ipynb", "-p", "l r", "1"), "'l r'"),
        (("n.ipynb", "--", "x"), "takes no arguments"),
        (("r.ipynb",), "notebook for R"),
        (("broken.ipynb",), "is not a notebook"),
        (("s.py", "--restart", "always"), "restart: 'always'"),
        (("s.py", "--gpus", "0"), "--gpus"),
    ]:
        ran = demo("run", *words)
        assert ran.code == 2, ran.err
        assert said in ran.err


# -- scripts


def test_modules_folders_environment_and_the_queue(demo, home):
    smi.put(host_folder(home).parent / "bin", 2)
    Path("pkg").mkdir()
    Path("pkg/tool.py").write_text("import os, sys\nprint(sys.argv[1:], os.environ['A'], os.getcwd())")
    ran = demo("run", "-m", "tool", "--sync", "pkg", "-e", "A=1", "--", "--epochs", "3")
    assert ran.code == 0, ran.err
    assert "['--epochs', '3'] 1" in ran.out
    assert ran.out.strip().endswith("/pkg")
    ran = demo("run", "--gpus", "2", "--shell", "echo on $CUDA_VISIBLE_DEVICES", "--json")
    assert ran.code == 0, ran.err
    assert ran.err.endswith("on 0,1\n")
    jobs = demo("runs", "--jobs", "--json").json
    assert [(job["wants"], job["gpus"]) for job in jobs] == [(2, ["0", "1"]), (0, [])]
    assert "0 1" in demo("runs", "--jobs").out


# -- logs


def test_logs_since_tail_and_grep(demo):
    ran = demo("run", "--shell", "echo old 1; sleep 3; for i in 1 2 3; do echo new $i; echo err $i >&2; done")
    assert ran.code == 0
    assert demo("logs", "--grep", "^old|err [23]").out.split("\n") == ["old 1", ""]
    assert "err 2\nerr 3\n" in demo("logs", "--grep", "^old|err [23]").err
    assert demo("logs", "--since", "2s", "--json").json["text"].startswith(("new 1", "err 1"))
    assert "old 1" in demo("logs", "--since", "1h").out
    assert demo("logs", "--grep", "new", "--tail", "1").out == "new 3\n"
    assert demo("logs", "--grep", "new", "--json").json["text"] == "new 1\nnew 2\nnew 3\n"
    for bad in ("(a+)+$", "(", "a" * 300, "a*b*c*d*e"):
        ran = demo("logs", "--grep", bad)
        assert ran.code == 2
        assert "--grep" in ran.err


# -- export, replay, restart


def test_export_replay_and_a_new_kernel(demo, home):
    from gpunb.cli.context import Context
    from gpunb.output import TextSink, show

    context = Context("terminal")
    client = context.agent(context.session(None))
    codes = [
        "from IPython.display import display, HTML\nprint('hello')\nx = 41",
        "display(HTML('<b>fat</b>'))\nx + 1",
        "raise ValueError('no')",
    ]
    ids = []
    for code in codes:
        run = client.run_cell(code)
        ids.append(run.id)
        with contextlib.suppress(RemoteCellError):
            show(run, TextSink())
    job = demo("run", "--shell", "echo from a job", "--json").json["run"]
    ran = demo("export", *ids, job, "out.ipynb")
    assert ran.code == 0, ran.err
    book = nbformat.read("out.ipynb", as_version=4)
    nbformat.validate(book)
    assert [cell.source for cell in book.cells] == [*codes, "!echo from a job"]
    assert outputs(book.cells[0]) == ["hello\n"]
    assert book.cells[1].outputs[0].data["text/html"] == "<b>fat</b>"
    assert book.cells[1].outputs[1].output_type == "execute_result"
    assert outputs(book.cells[1])[1] == "42"
    assert book.cells[2].outputs[0].ename == "ValueError"
    assert outputs(book.cells[3]) == ["from a job\n"]
    assert [cell.execution_count for cell in book.cells] == [1, 2, 3, None]
    assert book.cells[0].metadata.gpunb.run == ids[0]
    assert "is there already" in demo("export", ids[0], "out.ipynb").err
    assert demo("export", "--all", "out.ipynb", "--force").code == 0
    assert len(nbformat.read("out.ipynb", as_version=4).cells) == 3
    assert demo("export", ids[0]).code == 2

    assert demo("logs", "--rich", ids[0]).out == "hello\n"
    ran = demo("logs", "--rich", ids[2])
    assert ran.code == 0
    assert "ValueError" in ran.err

    assert "new kernel" in demo("restart", "--yes").out
    run = client.run_cell("x")
    with pytest.raises(Exception, match="NameError"):
        show(run, TextSink())
    context.close()


# -- load


def test_top_and_the_load_of_a_run(demo, home):
    ran = demo("top", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["sample"]["mem"][1] > 0
    assert "network" in demo("top").out
    job = demo("run", "--shell", "sleep 1", "--json").json["run"]
    ran = demo("show", "--run", job, "--json")
    assert ran.json["state"] == "ok"
    assert ran.json["load"]
    assert "cpu" in demo("show", "--run", job).out


# -- ports


class Here:
    """A web server here that answers with `text`."""

    def __init__(self, text):
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server():
    found = Here("it works")
    yield found
    found.close()


def read(link):
    with urllib.request.urlopen(link, timeout=10) as answer:
        return answer.read().decode()


def test_a_port_is_forwarded_listed_kept_up_and_closed(demo, server):
    from gpunb.cli.main import invoke
    from gpunb.sessions.access import host_access
    from gpunb.sessions.ledger.sessions import Ledger

    held = invoke(["forward", str(server.port)], frontend="notebook").data()
    # the host is this machine: its port is taken here, so another was chosen
    assert held["local_port"] != server.port
    assert read(held["link"]) == "it works"
    listed = demo("forward", "--json").json
    assert [(one["host_port"], one["link"]) for one in listed] == [(server.port, held["link"])]
    with Ledger.open() as ledger:
        session = ledger.one(None)
    host_access.connection(session).close()
    wait_for(lambda: _works(held["link"]))
    assert demo("forward", "1", "--close").code == 2
    assert demo("forward", str(server.port), "--close").code == 0
    wait_for(lambda: not _works(held["link"]))
    assert demo("forward", "--json").json == []


def _works(link):
    try:
        return read(link) == "it works"
    except OSError:
        return False


def test_a_forward_in_a_terminal_of_its_own_ends_with_the_session(demo, server):
    process = subprocess.Popen(
        [sys.executable, "-m", "gpunb", "forward", str(server.port), "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("}"):
                break
        held = json.loads(text)
        assert read(held["link"]) == "it works"
        assert [one["pid"] for one in demo("forward", "--json").json] == [process.pid]
        assert demo("down", "--yes").code == 0
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_port_of_this_machine_on_the_host(demo, server):
    from gpunb.cli.main import invoke

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    held = invoke(
        ["forward", str(port), "--reverse", "--local", str(server.port)], frontend="notebook"
    ).data()
    assert held["reverse"]
    code = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}').read().decode())"
    ran = demo("exec", "--", sys.executable, "-c", code)
    assert ran.out == "it works\n", ran.err
    assert demo("forward", "--close").code == 0


def test_forward_refuses_what_it_cannot_do(demo):
    assert "lives in the process" in demo("forward", "6006", "--detach").err
    assert demo("forward", "70000").code == 2
    assert demo("forward", "--reverse").code == 2


# -- packages


def test_pip_runs_in_the_hosts_python(demo):
    ran = demo("pip", "list", "--format", "json")
    assert ran.code == 0, ran.err
    assert "ipykernel" in re.sub(r"\s", "", ran.out)


def test_who_follows_a_job_in_a_terminal_hears_of_another_ones_end(demo):
    other = demo("run", "--shell", "sleep 1; exit 7", "--name", "other", "-d", "--json").json["run"]
    ran = demo("run", "--shell", "sleep 3; echo mine")
    assert ran.out == "mine\n"
    assert f"gpunb: job {other} (other) ended error exit code 7\n" in ran.err
    assert ran.err.count("ended") == 1


def test_a_script_that_misses_a_module_ends_with_what_to_type(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("helpers.py").write_text("x = 1\n")
    Path("train.py").write_text("import helpers\n")
    Path("sub").mkdir()
    Path("sub/other.py").write_text("import json\nimport nowhere_to_be_found\n")
    ran = demo("run", "train.py")
    assert ran.code == 1
    assert "gpunb run --sync ." in ran.err
    ran = demo("run", "sub/other.py")
    assert ran.code == 1
    assert "--sync" not in ran.err
    assert "gpunb logs" in ran.err


SCRIPTS = {  # name: text, whether it may be executed, and what it prints for the argument "a b"
    "posix.sh": ('#!/bin/sh\necho trained $0 "$1"\n', False, "trained posix.sh a b"),
    "bash.sh": ('#!/usr/bin/env bash\nlist=(x y); echo ${#list[@]} "$1"\n', False, "2 a b"),
    "options.sh": ("#!/bin/sh -e\nfalse\necho not reached\n", False, ""),
    "split": ("#!/usr/bin/env -S sh -x\necho split\n", False, "split"),
    "bare.sh": ('[[ 1 == 1 ]] && echo bare "$1"\n', False, "bare a b"),
    "crlf.py": ("#!/usr/bin/env python3\r\nimport sys; print('py', sys.argv[1])\r\n", False, "py a b"),
    "plain": ("import sys\nprint('plain', sys.argv[1])\n", False, "plain a b"),
    "of the host.sh": ("#!/bin/cat\nitself\n", True, "#!/bin/cat\nitself"),
}  # fmt: skip


def test_a_script_is_run_by_what_its_first_line_names(demo, home):
    there = own_hosts.home_of(home)
    for name, (text, executable, printed) in SCRIPTS.items():
        path = there / name if name == "of the host.sh" else Path(name)
        path.write_bytes(text.encode())
        path.chmod(0o755 if executable else 0o644)
        given = f":{name}" if name == "of the host.sh" else name
        ran = demo("run", given, *([] if executable else ["--", "a b"]))
        assert ran.code == (1 if name == "options.sh" else 0), (name, ran.err)
        assert printed in ran.out, (name, ran.out)
        assert "not reached" not in ran.out
