"""A notebook whose kernel is on the host: real Jupyter clients, a real session."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

import nbformat
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from support.machines.browser import Browser
from support.machines.proxy import Proxy

from gpunb import paths
from gpunb.cli.main import invoke
from gpunb.output import TextSink, show
from gpunb.sessions.access import host_access
from gpunb.sessions.integrations import kernelspecs
from gpunb.sessions.ledger.sessions import Ledger
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpunb.sessions.model import Session

pytestmark = pytest.mark.slow


@pytest.fixture
def session(home: Path, rented_from: None) -> Iterator[Session]:
    invoke("rent --name trainer --for 30m --yes", frontend="terminal")
    with Ledger.open() as ledger:
        found = ledger.find("trainer")
    yield found
    with Ledger.open() as ledger:
        alive = ledger.find(found.id).alive
    if alive:
        invoke("down trainer --yes", frontend="terminal")
    host_access.close_all()


@pytest.fixture
def name(session: Session) -> str:
    return kernelspecs.folder(session.id).name


class Front:
    """A kernel manager and its client, as a Jupyter server and a page have them."""

    def __init__(self, name: str) -> None:
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()

    def ready(self) -> Front:
        self.client.wait_for_ready(timeout=90)
        return self

    def run(self, code: str, answer: str | None = None, seconds: float = 60.0) -> tuple[str, dict[str, Any]]:
        """Text and reply of a cell."""
        return self.follow(self.client.execute(code, allow_stdin=True), answer, seconds)

    def follow(
        self, message: str, answer: str | None = None, seconds: float = 60.0
    ) -> tuple[str, dict[str, Any]]:
        text, until, idle, reply = "", time.monotonic() + seconds, False, None
        while not (idle and reply):
            assert time.monotonic() < until, f"no end; so far: {text!r} {reply}"
            try:
                item = self.client.get_iopub_msg(timeout=0.1)
            except Empty:
                item = None
            # another channel: a question that comes together with text is read after it
            if item is None and answer is not None and self.client.stdin_channel.msg_ready():
                text += "[" + self.client.stdin_channel.get_msg(timeout=1)["content"]["prompt"] + "]"
                self.client.input(answer)
            if item is not None and item["parent_header"].get("msg_id") == message:
                if item["msg_type"] == "stream":
                    text += item["content"]["text"]
                idle = idle or item["content"].get("execution_state") == "idle"
            if self.client.shell_channel.msg_ready():
                found = self.client.get_shell_msg(timeout=1)
                if found["parent_header"].get("msg_id") == message:
                    reply = found["content"]
        return text, reply

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)


@pytest.fixture
def fronts(name: str) -> Iterator[Callable[[], Front]]:
    made: list[Front] = []

    def start() -> Front:
        made.append(Front(name))
        return made[-1]

    yield start
    for front in made:
        front.close()


def kernels_on_host() -> list[int]:
    """Processes of notebooks' own kernels, on hosts below this test's home."""
    found, home = [], str(paths.home())
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "kernel" in line and any("/kernels/nb" in word and word.startswith(home) for word in line):
            found.append(process.pid)
    return found


def wait_for(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def test_the_spec_is_there_while_the_session_lives_and_holds_no_secret(session: Session, name: str) -> None:
    spec = KernelSpecManager().get_kernel_spec(name)
    assert spec.display_name.startswith("Python 3 · ")
    assert spec.display_name.endswith(" · trainer")
    assert spec.interrupt_mode == "message"
    assert name in KernelSpecManager().get_all_specs()
    text = (kernelspecs.folder(session.id) / "kernel.json").read_text()
    assert session.host not in text
    assert "KEY" not in text
    assert set(json.loads(text).get("env", {})) <= {"GPUNB_HOME"}
    invoke("down trainer --yes", frontend="terminal")
    assert name not in KernelSpecManager().find_kernel_specs()


def test_nbclient_executes_a_notebook(name: str) -> None:
    cells = [
        "import os\nprint(os.environ['HOME'])",
        "x = 6\nx * 7",
        "from IPython.display import display, HTML\ndisplay(HTML('<b>hi</b>'))",
        "import ipywidgets as w\nw.IntSlider(3)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(notebook, kernel_name=name, timeout=90).execute()
    assert notebook.cells[0].outputs[0].text.strip() != os.path.expanduser("~")
    assert notebook.cells[1].outputs[0].data["text/plain"] == "42"
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3, 4]
    assert notebook.cells[2].outputs[0].data["text/html"] == "<b>hi</b>"
    view = notebook.cells[3].outputs[0].data["application/vnd.jupyter.widget-view+json"]
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert states[view["model_id"]]["state"]["value"] == 3
    assert kernels_on_host() == []
    failing = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        NotebookClient(failing, kernel_name=name, timeout=90).execute()


def test_a_page_works_as_with_any_kernel(fronts: Callable[[], Front]) -> None:
    front = fronts().ready()
    client = front.client
    text, reply = front.run("name = input('who? ')\nprint('hello', name)", answer="Ada")
    assert text == "[who? ]hello Ada\n"
    assert (reply["status"], reply["execution_count"]) == ("ok", 1)
    assert "name" in client.complete("nam", reply=True, timeout=30)["content"]["matches"]
    assert client.inspect("name", reply=True, timeout=30)["content"]["found"]
    assert client.history(reply=True, hist_access_type="tail", n=3, timeout=30)["content"]["history"]
    client.is_complete("for x in y:")
    assert client.get_shell_msg(timeout=30)["content"]["status"] == "incomplete"
    _, reply = front.run("print?")
    assert reply["payload"][0]["source"] == "page"
    message = client.execute("half = 1/2", silent=True, user_expressions={"h": "half"})
    _, reply = front.follow(message)
    assert reply["user_expressions"]["h"]["data"]["text/plain"] == "0.5"
    # a failure aborts what was queued behind it
    first, second = (
        client.execute("import time; time.sleep(1); 1 / 0"),
        client.execute("print('not reached')"),
    )
    replies = {}
    while len(replies) < 2:
        found = client.get_shell_msg(timeout=60)
        replies[found["parent_header"]["msg_id"]] = found["content"]
    assert (replies[first]["status"], replies[first]["ename"]) == ("error", "ZeroDivisionError")
    assert replies[second]["status"] == "aborted"
    # its variables are its own
    assert front.run("print('name' in globals())")[0] == "True\n"
    assert fronts().ready().run("print('name' in globals())")[0] == "False\n"


def test_widgets_are_live(fronts: Callable[[], Front]) -> None:
    front = fronts().ready()
    page = Browser(front.client)
    page.run("from ipywidgets import interact\ninteract(lambda n: print('n is', n), n=(0, 10))\nNone")
    slider, output = page.named("IntSliderModel"), page.named("OutputModel")
    moved = page.set(slider, value=8)
    assert page.text(moved) == "n is 8\n"
    caught = [
        one["content"]["data"]["state"]["msg_id"]
        for one in page.of(moved)
        if one["msg_type"] == "comm_msg"
        and one["content"]["comm_id"] == output
        and "msg_id" in one["content"]["data"].get("state", {})
    ]
    assert caught[0] == moved
    info = front.client.comm_info(reply=True, timeout=30)["content"]["comms"]
    assert info[slider] == {"target_name": "jupyter.widget"}


def test_interrupt_restart_and_shutdown(fronts: Callable[[], Front]) -> None:
    front = fronts().ready()
    front.run("kept = 1")
    message = front.client.execute("import time\nprint('sleeping', flush=True)\ntime.sleep(60)")
    time.sleep(2)
    front.manager.interrupt_kernel()
    text, reply = front.follow(message)
    assert text == "sleeping\n"
    assert reply["ename"] == "KeyboardInterrupt"
    assert front.run("print(kept)")[0] == "1\n"
    (before,) = kernels_on_host()
    front.manager.restart_kernel()
    front.client.wait_for_ready(timeout=90)
    assert front.run("print('kept' in globals())")[0] == "False\n"
    (after,) = kernels_on_host()
    assert after != before
    front.manager.shutdown_kernel()
    wait_for(lambda: not kernels_on_host())


def test_killed_at_once_leaves_nothing_on_the_host(fronts: Callable[[], Front]) -> None:
    front = fronts().ready()
    assert len(kernels_on_host()) == 1
    front.manager.shutdown_kernel(now=True)
    wait_for(lambda: not kernels_on_host())


def test_a_line_that_breaks_in_mid_cell_loses_nothing(session: Session, fronts: Callable[[], Front]) -> None:
    with Proxy(session.port, host=session.host) as proxy:
        with Ledger.open() as ledger:
            ledger.update(session.id, host="127.0.0.1", port=proxy.port)
        front = fronts().ready()
        message = front.client.execute(
            "import time\nfor i in range(100):\n    print(i, flush=True); time.sleep(0.03)"
        )
        for _ in range(4):
            time.sleep(0.7)
            proxy.drop()
        text, reply = front.follow(message)
        assert text == "".join(f"{i}\n" for i in range(100))
        assert reply["status"] == "ok"
        message = front.client.execute("time.sleep(0.5); print('ended in the dark'); input('go? ')")
        time.sleep(0.2)
        proxy.cut()
        time.sleep(1.5)
        proxy.restore()
        text, reply = front.follow(message, answer="yes")
        assert (text, reply["status"]) == ("ended in the dark\n[go? ]", "ok"), reply
        message = front.client.execute("time.sleep(0.5); print('ended elsewhere'); input('go? ')")
        time.sleep(0.2)
        proxy.cut()
        time.sleep(1.5)
        with Ledger.open() as ledger:  # as the supervisor does when the cloud lists another address
            ledger.update(session.id, host=session.host, port=session.port)
        text, reply = front.follow(message, answer="yes")
        assert (text, reply["status"]) == ("ended elsewhere\n[go? ]", "ok"), reply
        front.manager.shutdown_kernel()


LEFT = """
import os, sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name=sys.argv[1])
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=90)
client.execute("import time\\nfor i in range(80):\\n    print(i, flush=True); time.sleep(0.1)")
while client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
    pass
os.kill(os.getpid(), 9)
"""


def test_a_cell_goes_on_when_jupyter_is_killed_and_can_be_attached(session: Session, name: str) -> None:
    assert subprocess.run([sys.executable, "-c", LEFT, name], timeout=120).returncode == -9
    client = host_access.agent(session)
    (run,) = [info for info in client.runs() if info.kind == "cell"]
    assert not run.over
    out = io.StringIO()
    assert show(client.attach(run.id), TextSink(out, out)).state == "ok"
    assert out.getvalue() == "".join(f"{i}\n" for i in range(80))
    wait_for(lambda: not kernels_on_host())  # nobody can come back to it


def test_the_hosts_kernel_dying_is_a_dead_kernel(fronts: Callable[[], Front]) -> None:
    front = fronts().ready()
    _, reply = front.run("import os; os.kill(os.getpid(), 9)")
    assert reply["status"] == "error"
    wait_for(lambda: not front.manager.is_alive())


def test_a_session_that_ends_under_it(fronts: Callable[[], Front]) -> None:
    front = fronts().ready()
    front.run("x = 1")
    invoke("down trainer --yes", frontend="terminal")
    message = front.client.execute("print('never')")
    text, reply = front.follow(message, seconds=90)
    assert text == ""
    assert reply["status"] == "error"
    wait_for(lambda: not front.manager.is_alive(), 60)


def test_a_session_that_is_over_is_refused_in_words(session: Session, name: str) -> None:
    text = (kernelspecs.folder(session.id) / "kernel.json").read_text()
    invoke("down trainer --yes", frontend="terminal")
    path = kernelspecs.folder(session.id)
    path.mkdir(parents=True)
    (path / "kernel.json").write_text(text)  # an old tab still knows it
    with pytest.raises(Exception, match="session trainer is gone"):
        KernelManager(kernel_name=name).start_kernel()
    with Ledger.open() as ledger:
        assert kernelspecs.sweep(ledger.sessions()) == [session.id]
    assert not path.exists()


def test_a_start_that_waits_for_its_host_can_be_deleted(session: Session, name: str) -> None:
    with Proxy(session.port, host=session.host) as proxy:
        proxy.freeze()
        with Ledger.open() as ledger:
            ledger.update(session.id, host="127.0.0.1", port=proxy.port)

        async def start_and_delete() -> float:
            manager = AsyncKernelManager(kernel_name=name)
            await manager.start_kernel()
            assert await manager.is_alive()
            began = time.monotonic()
            await manager.shutdown_kernel(now=True)
            assert not await manager.is_alive()
            return time.monotonic() - began

        assert asyncio.run(start_and_delete()) < 9
        with Ledger.open() as ledger:
            ledger.update(session.id, host=session.host, port=session.port)


def test_jupyters_own_commands_run_files_there(name: str, tmp_path: Path) -> None:
    def jupyter(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "jupyter", *words]
        return subprocess.run(argv, cwd=tmp_path, input=text, text=True, capture_output=True, timeout=120)

    where = "import os\nprint('ran in', os.environ['HOME'])\n"
    (tmp_path / "good.py").write_text(where)
    (tmp_path / "bad.py").write_text("print('before')\n1 / 0\n")
    ran = jupyter("run", "--kernel", name, "good.py")
    assert ran.returncode == 0, ran.stderr
    assert own_hosts.HOME in ran.stdout
    ran = jupyter("run", f"--kernel={name}", text=where)
    assert own_hosts.HOME in ran.stdout, ran.stderr
    ran = jupyter("run", f"--kernel={name}", "bad.py")
    assert ran.returncode == 1
    assert "before" in ran.stdout
    assert (ran.stdout + ran.stderr).count(": division by zero") == 1
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(where)])
    nbformat.write(book, tmp_path / "book.ipynb")
    ran = jupyter("execute", f"--kernel_name={name}", "--output=out.ipynb", "book.ipynb")
    assert ran.returncode == 0, ran.stderr
    assert own_hosts.HOME in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text


def test_the_kernel_starts_in_the_bound_folder(
    session: Session, fronts: Callable[[], Front], tmp_path: Path
) -> None:
    from gpunb.services.project import bind

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("a,b\n")
    (tmp_path / "helpers.py").write_text("ANSWER = 41\n")
    with Ledger.open() as ledger:
        bind(ledger, session, tmp_path)
    front = fronts().ready()
    text, reply = front.run(
        "import helpers; print(helpers.ANSWER, open('data/x.csv').read()); open('made.txt', 'w').write('m')"
    )
    assert text.startswith("41 a,b\n"), reply
    assert "1 file came back (1 B): made.txt" in text
    assert (tmp_path / "made.txt").read_text() == "m"
    (tmp_path / "helpers.py").write_text("ANSWER = 42\n")
    assert front.run("import helpers; print(helpers.ANSWER)")[0] == "42\n"
