"""A session in Python against a real host: cells, jobs, files, variables, ports, the lease."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

import pytest

import gpunb
from gpunb.errors import BadInput, JobFailed, RemoteCellError, RunTimeout, VariableError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_cells(session: gpunb.Session, capfd: pytest.CaptureFixture[str]) -> None:
    first = session.run_cell("import sys\nx = 6 * 7\nprint('out'); print('err', file=sys.stderr)\nx")
    assert (first.stdout, first.stderr) == ("out\n", "err\n")
    assert sorted(first.text.splitlines()) == ["42", "err", "out"]
    assert capfd.readouterr().out == "", "what is not asked for is not shown"
    rich = session.run_cell("from IPython.display import HTML\nHTML('<b>x</b>')", show=True)
    assert rich.outputs[-1]["data"]["text/html"] == "<b>x</b>"
    assert "HTML" in capfd.readouterr().out
    with pytest.raises(RemoteCellError, match="StdinNotImplementedError"):
        session.run_cell("input('? ')")
    with pytest.raises(RunTimeout):
        session.run_cell("import time; time.sleep(60)", timeout=1)
    assert session.run_cell("x + 1").text == "43\n", "the kernel lives on"
    assert session.run_cell("").outputs == []


def test_jobs(session: gpunb.Session, work: Path) -> None:
    (work / "train.py").write_text(
        "import os, sys, time\nprint('epochs', sys.argv[1], os.environ['MODE'], flush=True)\n"
        "os.makedirs('out', exist_ok=True); open('out/m', 'w').write('1')\n"
        "open('started', 'w').close()\n"
        "while not os.path.exists('go'): time.sleep(0.05)\nsys.exit(3)\n"
    )
    job = session.run("train.py", "5", sync=".", env={"MODE": "fast"}, fetch="out", name="fit")
    assert (job.name, job.returncode) == ("fit", None)
    assert job.state in {"queued", "running"}
    with pytest.raises(TimeoutError, match=r"still runs after 0\.1 s"):
        job.wait(timeout=0.1)
    session.exec(
        "sh", "-c", "until [ -e work/started ]; do sleep 0.05; done; touch work/go", timeout=20
    ).check()
    assert job.wait(timeout=20) == job.returncode == 3
    assert (work / "out" / "m").read_text() == "1"
    assert job.logs() == "epochs 5 fast\n"
    with pytest.raises(JobFailed, match="exit code 3") as caught:
        job.wait(check=True)
    assert caught.value.exit_code == 3
    other = session.run(shell="echo a; echo b; sleep 60")
    until(lambda: other.logs() == "a\nb\n")
    assert other.logs(tail=1) == "b\n"
    other.cancel()
    other.cancel()
    assert other.state == "cancelled"
    assert other.wait() not in {0, None}
    for script, says in ((("no.py",), "no script 'no.py'"), ((), "needs a script")):
        with pytest.raises(BadInput, match=says):
            session.run(*script)


def test_a_notebook_with_parameters_comes_home(session: gpunb.Session, work: Path) -> None:
    import nbformat

    cells = [nbformat.v4.new_code_cell("lr = 1", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell("print(lr * 2)"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), work / "fit.ipynb")
    with pytest.raises(BadInput, match="must be a plain value"):
        session.run("fit.ipynb", parameters={"lr": object()})
    job = session.run("fit.ipynb", parameters={"lr": 21}, output="done.ipynb")
    assert job.wait(timeout=60, check=True) == 0
    assert job.notebook is not None
    assert "42" in (work / "done.ipynb").read_text()


def test_commands(session: gpunb.Session) -> None:
    done = session.exec("sh", "-c", "cat; echo no >&2; exit 4", input=b"typed")
    assert (done.stdout, done.stderr, done.returncode) == ("typed", "no\n", 4)
    with pytest.raises(JobFailed, match="exit code 4: no"):
        done.check()
    with pytest.raises(BadInput, match="must be a command"):
        session.exec()


def test_files(session: gpunb.Session, work: Path) -> None:
    (work / "data").mkdir()
    (work / "data" / "a.txt").write_text("1")
    plan = session.sync("data", ":data", dry_run=True)
    assert [item.path for item in plan.plan.items] == ["a.txt"]
    assert session.sync("data", ":data").sent_files == 1
    assert session.sync(":data", "back").sent_files == 1
    assert (work / "back" / "a.txt").read_text() == "1"
    with pytest.raises(BadInput, match="one of the two, and only one"):
        session.sync("data", "data")
    with pytest.raises(BadInput, match="one of the two, and only one"):
        session.sync("data", "another:data")
    with pytest.raises(BadInput, match="source 'nothing': No such file"):
        session.sync("nothing", ":data")


def test_variables(session: gpunb.Session) -> None:
    import numpy as np

    session.put(x=np.arange(3), pair=(1, {"a": 2}))
    session.run_cell("y = x * 2; z = open('/dev/null')")
    y, pair = session.get("y", "pair")
    assert (list(y), pair) == ([0, 2, 4], (1, {"a": 2}))
    assert list(session.get("y")) == [0, 2, 4]
    with pytest.raises(VariableError, match="'f' can't be sent"):
        session.put(f=threading.Lock())
    with pytest.raises(VariableError, match="'z'"):
        session.get("z")
    with pytest.raises(VariableError, match="there is no variable of that name"):
        session.get("nowhere")
    with pytest.raises(BadInput, match="names no variable"):
        session.get()


def test_ports_and_the_lease(session: gpunb.Session) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = session.run(str(port), "--bind", "127.0.0.1", module="http.server")
    until(lambda: answers(port))  # the host is this machine, so the port is taken here
    with session.forward(port) as way:
        assert way.open
        assert way.local_port != port
        until(lambda: answers(way.local_port))
    assert not way.open
    server.cancel()
    with pytest.raises(BadInput, match="port='80' must be a number"):
        session.forward("80")  # type: ignore[arg-type]
    before = session.record.lease
    session.extend()
    session.extend("30m", idle="2h", budget=5)
    after = session.record.lease
    assert before.deadline is not None
    assert after.deadline is not None
    assert after.deadline - before.deadline == pytest.approx(5400, abs=2)
    assert (after.idle_s, after.budget_usd) == (7200.0, 5.0)
    assert session.record.armed == after.mark
    assert session.cost.total == 0.0


def test_a_package_that_is_not_there_is_named(session: gpunb.Session) -> None:
    with pytest.raises(BadInput, match="must be a requirement of one line"):
        session.pip("")
    with pytest.raises(JobFailed, match="could not be installed on demo") as caught:
        session.pip("./no-such-package.whl")
    assert "runs and is billed" in str(caught.value)


def answers(port: int) -> bool:
    """Whether an HTTP server answers at this port of this machine."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", "/")
        return line.getresponse().status == 200
    except http.client.HTTPException:
        return False
    finally:
        line.close()


def until(true: object, seconds: float = 20.0) -> None:
    """Wait until `true` holds; what it raises meanwhile is no answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():  # type: ignore[operator]
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not within {seconds:g} s")
