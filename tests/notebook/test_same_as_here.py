"""Each cell below, message by message: in a kernel on this machine, by %%gpu, by %gpu on, in a host's kernel.

All four kernels and the host are shared by all cells. A sibling is one line in `CELLS`; what
differs on purpose stands in docs/differences.md, and is held by a test of its own.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager
from support.rentals.supervisors import end_supervisors

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SKIPPED = ("status", "execute_input", "comm_open", "comm_msg", "comm_close")
HEAD = "%%gpu -s magic"
TRIED = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()"
THREAD = "import threading, time\nthreading.Thread(target=work).start(); print('started')"
#: what a cell whose name begins so says last, after its end
LAST = {"late 2:": "late 2", "late:": "late", "late loss 1:": "loss 1"}
BOUND_S = 60.0
DISPLAY_WITH_ID = """
ip = get_ipython()
def show(kind, value):
    content = {'data': {'text/plain': repr(value)}, 'metadata': {}, 'transient': {'display_id': 'named'}}
    if kind == 'execute_result':
        content['execution_count'] = ip.execution_count
    ip.kernel.session.send(ip.kernel.iopub_socket, kind, content, parent=ip.kernel.get_parent())
"""

#: name, and the cell; one that depends on another's names stands below it
CELLS = {
    "prints": "print('a'); print('b', end=''); print('c')",
    "a value": "40 + 2",
    "the value before": "_",
    "no value": "40 + 2;",
    "html": "from IPython.display import HTML, Markdown, display\ndisplay(HTML('<b>x</b>'), Markdown('*y*'))",
    "display and result": "display('first'); print('then'); 'last'",
    "flushed in turns": (
        "import sys\nfor i in range(3):\n"
        "    print('epoch', i, flush=True); print('warning', i, file=sys.stderr, flush=True)"
    ),
    "stderr first": "print('e', file=sys.stderr, flush=True); print('o', flush=True); display(1)",
    "clear": "from IPython.display import clear_output\nprint('old'); clear_output(wait=True); print('new')",
    "an update": "h = display('loss 9', display_id='h1'); h.update('loss 1')",
    "an error": "1 / 0",
    "an error in a function": "def fails():\n    x = 1\n    return x / 0\n\nfails()",
    "an error of an earlier cell": "fails()",
    "an error with a cause": (
        "try:\n    fails()\nexcept ZeroDivisionError as err:\n    raise ValueError('no') from err"
    ),
    "an error without a text": "raise KeyError()",
    "an error with lines": "raise RuntimeError('one\\ntwo')",
    "an error of a class made here": "class Odd(Exception):\n    pass\nraise Odd('it is')",
    "an assertion": "assert 1 == 2, 'unequal'",
    "a syntax error": "x = = 2",
    "a name error": "no_such_name",
    "an exit": "import sys\nsys.exit(3)",
    "an interrupt of its own": "raise KeyboardInterrupt",
    "a usage error": "%nosuchmagic",
    "a usage error of a cell magic": "%%nosuchcellmagic\nx",
    "a raised usage error": "from IPython.core.error import UsageError\nraise UsageError('usage')",
    "an error then output": "get_ipython().run_cell('1/0'); print('goes on')",
    "two errors in a loop": "for code in ('1/0', '[][1]'):\n    get_ipython().run_cell(code);",
    "a script that fails": (
        "open('train_ck.py', 'w').write('print(\"epoch 1\"); raise RuntimeError(\"out of memory\")');\n"
        "%run train_ck.py"
    ),
    "showtraceback": f"{TRIED}\nprint('on')",
    "tb": "%tb",
    "safe_execfile": "get_ipython().safe_execfile('train_ck.py', {}); print('on')",
    "a hook that fails": (
        "def hook(*_):\n    get_ipython().events.unregister('post_run_cell', hook)\n"
        "    raise ValueError('in a hook')\n"
        "get_ipython().events.register('post_run_cell', hook)"
    ),
    "an error and a hook's output": (
        "def after(*_):\n    get_ipython().events.unregister('post_execute', after)\n"
        "    display('a figure')\n"
        "get_ipython().events.register('post_execute', after)\n1 / 0"
    ),
    "an error that is shown twice": f"{TRIED}\n    raise",
    "an error long before the end": "import time\nget_ipython().run_cell('1/0'); time.sleep(0.6)",
    "captured": "%%capture cap\nprint('held')\n42",
    "what was captured": "cap.stdout, len(cap.outputs)",
    "its number": "len(In) - 1 - get_ipython().displayhook.prompt_count",
    "a result": "6 * 7",
    "by its number": "Out[len(In) - 2]",
    "by its name": "globals()['_%d' % (len(In) - 3)]",
    "its history": "In[-1].splitlines()[-1], _i.splitlines()[-1]",
    "a result with an id": f"{DISPLAY_WITH_ID}\nshow('execute_result', 9)",
    "brought up to date": "show('update_display_data', 10)",
    "odd bytes in a name": "import os\ndisplay(HTML(os.fsdecode(b'caf\\xe9.csv')))",
    "odd bytes printed": "print(os.fsdecode(b'caf\\xe9.csv'))",
    "odd bytes in a result": "os.fsdecode(b'caf\\xe9.csv')",
    "a lone surrogate": "display(HTML('\\ud83d'))",
    "odd bytes in an error": "raise ValueError(os.fsdecode(b'caf\\xe9.csv'))",
    "next input": "get_ipython().set_next_input('y = 2')",
    "load": "open('part.py', 'w').write('x = 1');\n%load part.py",
    "a pager": "len?",
    "late 2: a thread": f"def work():\n    for i in range(3): time.sleep(.2); print('late', i)\n{THREAD}",
    "late: a thread's stderr": (
        f"import sys\ndef work():\n    time.sleep(.2); print('late', file=sys.stderr)\n{THREAD}"
    ),
    "late: a thread's display": f"def work():\n    time.sleep(.2); display('late')\n{THREAD}",
    "late loss 1: a handle": (
        "h = display('loss 9', display_id='h2')\n"
        f"def work():\n    time.sleep(.3); h.update('loss 1')\n{THREAD}"
    ),
    "late 2: a task": (
        "import asyncio\nasync def job():\n    for i in range(3): await asyncio.sleep(.2); print('late', i)\n"
        "task = asyncio.create_task(job()); print('started')"
    ),
    "the cell behind": "print('alone')",
}  # fmt: skip


@dataclass
class Told:
    """What one cell said: its messages in order, and its reply."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    reply: tuple[Any, ...] = ()


class Front:
    """One kernel, and what its cells begin with."""

    def __init__(self, spec: str, folder: Path, *before: str, head: str = "") -> None:
        self.head = ""
        self.manager = KernelManager(kernel_name=spec)
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=90)
        for code in before:
            assert self.tell(code).reply[0] == "ok", code
        self.head = head

    def tell(self, code: str, *, last: str = "") -> Told:
        """Run a cell to its end, and listen until it has said `last`."""
        plain = not self.head or (code.startswith("%%") and self.head != HEAD)
        whole = code if plain else f"{self.head}\n{code}"
        message = self.client.execute(whole, allow_stdin=False)
        found, count, until, idle = Told(), 0, time.monotonic() + BOUND_S, False
        raw: list[tuple[str, dict[str, Any]]] = []
        # a text may come in two pieces
        while not idle or last not in str(raw[-1:]) + "".join(str(one.get("text", "")) for _, one in raw):
            assert time.monotonic() < until, (self.manager.kernel_name, self.head, code, raw)
            with contextlib.suppress(Empty):
                item = self.client.get_iopub_msg(timeout=0.05)
                kind, content = item["msg_type"], item["content"]
                if item["parent_header"].get("msg_id") != message:
                    continue
                count = content.get("execution_count") or count
                idle = idle or content.get("execution_state") == "idle"
                if kind not in SKIPPED:
                    raw.append((kind, content))
        while True:
            reply = self.client.get_shell_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == message:
                break
        found.messages = _joined([_plain(kind, content, count) for kind, content in raw])
        content = reply["content"]
        orders = content.get("payload", [])
        payload = [
            (one["source"], _text(one.get("text", ""), count).removeprefix(f"{HEAD}\n")) for one in orders
        ]
        found.reply = (
            content["status"],
            content.get("ename"),
            _text(content.get("evalue", ""), count),
            payload,
        )
        return found

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _plain(kind: str, content: dict[str, Any], count: int) -> tuple[Any, ...]:
    if kind == "stream":
        return kind, content["name"], _text(content["text"], count)
    if kind == "error":
        trace = _text("\n".join(content["traceback"]), count)
        return kind, content["ename"], _text(content["evalue"], count), trace
    if kind == "clear_output":
        return kind, content["wait"]
    shown = {mime: _text(str(text), count) for mime, text in content["data"].items()}
    own_number = content.get("execution_count") in (None, count)
    return kind, shown, content.get("transient", {}).get("display_id"), own_number


def _text(text: str, count: int) -> str:
    """Without what differs from one process to the next: colours, folders, addresses, the cell's number."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"In ?\[(\d+)\]", lambda found: f"In[{int(found[1]) - count:+d}]", text)
    text = re.sub(r"0x[0-9a-f]+|(?<=object at )[0-9a-f]+", "0x", text)
    text = re.sub(r"(?<=execution_count=)\d+", lambda found: f"{int(found[0]) - count:+d}", text)
    text = re.sub(r"\b\d{6,}\.py", "cell.py", text)
    text = re.sub(r"(?<=_cell=)\"[^\"]*\"", "...", text)
    text = re.sub(r"\S*/(?=[\w.-]+\.py)", "", text)
    text = re.sub(r"ipykernel_\d+/\d+\.py", "cell.py", text)
    return re.sub(r"^-+$", "---", text, flags=re.MULTILINE)


def _joined(messages: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Neighbouring pieces of one stream as one."""
    out: list[tuple[Any, ...]] = []
    for one in messages:
        if one[0] == "stream" and out and out[-1][:2] == one[:2]:
            out[-1] = (*one[:2], out[-1][2] + one[2])
        else:
            out.append(one)
    return out


@pytest.fixture(scope="module")
def fronts() -> Iterator[dict[str, Front]]:
    """The four kernels, three hosts' and the one here: twice, since %%gpu adds a line to its cells."""
    from gpunb.cli.main import invoke
    from gpunb.sessions.access import host_access
    from gpunb.sessions.integrations import kernelspecs
    from gpunb.sessions.ledger.sessions import Ledger

    short = Path(tempfile.mkdtemp(prefix="gpnb", dir="/tmp"))
    made: dict[str, Front] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNB_HOME", str(short / "home"))
        patch.setenv("JUPYTER_DATA_DIR", str(short / "jupyter"))
        patch.setenv("JPY_SESSION_NAME", str(short / "book.ipynb"))
        cloud = own_hosts.the_cloud(short / "home", short) if own_hosts.wanted() else contextlib.nullcontext()
        cloud.__enter__()
        try:
            for name in ("magic", "on"):
                invoke(f"rent --name {name} --for 30m --yes", frontend="terminal")
            with Ledger.open() as ledger:
                spec = kernelspecs.folder(ledger.find("on").id).name
            made["here"] = Front("python3", short)
            made["here, with a line above"] = Front("python3", short, head="# %%gpu")
            made["%%gpu"] = Front("python3", short, "%load_ext gpunb", f"{HEAD}\npass", head=HEAD)
            made["%gpu on"] = Front("python3", short, "%load_ext gpunb", "%gpu on -s on", "pass")
            made["whole"] = Front(spec, short)
            yield made
        finally:
            for front in made.values():
                front.close()
            invoke("down --all --yes", frontend="terminal")
            host_access.close_all()
            end_supervisors(short / "home")
            for instance in own_hosts.instances():
                own_hosts.provider().destroy(instance.id)
            cloud.__exit__(None, None, None)
            shutil.rmtree(short, ignore_errors=True)


#: what a cell needs to have run just before it: another worker may have the test above it
AFTER = {
    "tb": ["showtraceback"],
    "safe_execfile": ["a script that fails"],
    "what was captured": ["captured"],
    "by its number": ["a result"],
    "by its name": ["a result", "by its number"],
    "brought up to date": ["a result with an id"],
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_says_what_it_says_here(fronts: dict[str, Front], name: str) -> None:
    for before in AFTER.get(name, ()):
        for front in fronts.values():
            front.tell(CELLS[before])
    code, last = CELLS[name], next((word for head, word in LAST.items() if name.startswith(head)), "")
    told = {where: front.tell(code, last=last) for where, front in fronts.items()}
    for where, expected in (("%gpu on", "here"), ("whole", "here"), ("%%gpu", "here, with a line above")):
        assert told[where].messages == told[expected].messages, where
        assert told[where].reply == told[expected].reply, where


def test_a_child_is_heard_after_its_cells_end(fronts: dict[str, Front]) -> None:
    code = (
        "import subprocess\np = subprocess.Popen('sleep .4; echo from a child', shell=True)\nprint('started')"
    )
    for where in ("%%gpu", "%gpu on", "whole"):
        told = fronts[where].tell(code, last="from a child")
        assert told.messages == [("stream", "stdout", "started\nfrom a child\n")], where


#: each line of docs/differences.md, and the test that holds it
HELD = {
    "The folder and the environment are the host's.": "notebook/test_same_as_here.py::test_what_differs",
    "Results stay there.": "notebook/test_same_as_here.py::test_what_differs",
    "`exit()` ends the host's kernel.": "notebook/test_same_as_here.py::test_what_differs",
    "A block with a `%gpu` line runs here.": (
        "notebook/test_onoff.py::test_a_block_with_a_line_of_ours_stays_here"
    ),
    "A second Ctrl-C asks.": "remote/cells/test_cells.py::test_a_second_ctrl_c_offers_to_restart_the_kernel",
    "After a cell's end, there is a bound.": "output/test_late.py::test_endless_text_is_let_go_and_said_once",
    "A stranger's host writes nothing into your cells.": (
        "output/test_late.py::test_a_strangers_text_for_a_cell_is_left_out"
    ),
}  # fmt: skip


def test_each_difference_is_told_and_held() -> None:
    tests = Path(__file__).parents[1]
    page = (tests.parent / "docs" / "differences.md").read_text()
    assert re.findall(r"^- \*\*(.+?)\*\*", page, re.MULTILINE) == list(HELD)
    for node in HELD.values():
        file, _, name = node.partition("::")
        assert f"def {name}(" in (tests / file).read_text(), node


def test_what_differs(fronts: dict[str, Front]) -> None:
    here, magic = fronts["here"], fronts["%%gpu"]

    def says(front: Front, code: str) -> str:
        return str(front.tell(code).messages)

    folder = "import os; print(os.getcwd(), os.environ.get('JPY_SESSION_NAME'))"
    assert "book.ipynb" in says(here, folder)
    assert own_hosts.HOME in says(magic, folder)
    assert "None" in says(magic, folder)
    assert "# %%gpu" in says(magic, "In[-1]")
    says(magic, "'only there'")
    magic.head = ""
    try:
        assert "only there" not in says(magic, "_, Out")
    finally:
        magic.head = HEAD
    magic.tell("exit()")
    until = time.monotonic() + BOUND_S
    while "it exited with code 0" not in (told := says(magic, "1")):
        assert time.monotonic() < until, told
