"""``gpunb cell``: code from a terminal in the kernel of the notebook's cells, at a real local session."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click import unstyle as strip_ansi

from gpunb.errors import RemoteCellError
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n made by a cell").decode()
PICTURE = f"""
from IPython.display import display
handle = display({{"image/png": {PNG!r}, "text/plain": "<Figure>"}}, raw=True, display_id="p")
print("between")
"""
MINE = [sys.executable, "-m", "gpunb"]


def start(*words: str) -> subprocess.Popen[str]:
    """Type it in a terminal of its own process."""
    return subprocess.Popen(
        [*MINE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )


def test_state_lives_on_and_streams_stay_apart(demo: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo("cell", "-c", "import sys\nx = 21\nprint('to out')\nprint('to err', file=sys.stderr)")
    assert (first.code, first.out) == (0, "to out\n")
    assert first.err.endswith("to err\n")
    second = demo("cell", "demo", "-c", "x * 2")
    assert (second.code, second.out) == (0, "42\n")
    Path("a.py").write_bytes("# coding: latin-1\nprint('ä', x)\n".encode("latin-1"))
    assert demo("cell", "-f", "a.py").out == "ä 21\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("x += 1; print(x)"))
    assert demo("cell").out == "22\n"
    empty = demo("cell", "-f", "-")
    assert (empty.code, "standard input has no code" in empty.err) == (2, True)
    with Ledger.open() as ledger:
        runs = ledger.runs(ledger.find("demo").id, 10)
    assert [(run.kind, run.state, run.front) for run in runs] == [("cell", "ok", "terminal")] * 4
    assert runs[2].name == "x * 2"


def test_it_is_the_kernel_of_the_notebooks_cells(demo: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.notebook.cell_magic import run_cell

    shell = InteractiveShell()
    assert demo("cell", "-c", "y = 'typed'").code == 0
    run_cell(shell, "", "assert y == 'typed'; z = 'by %%gpu'")
    with pytest.raises(RemoteCellError, match="is not defined"):
        run_cell(shell, "", "unknown")
    assert demo("cell", "-c", "z").out == "'by %%gpu'\n"


def test_an_exception_is_shown_once_and_the_exit_code_is_1(demo: Gpunb) -> None:
    ran = demo("cell", "-c", "def f():\n    return 1 / 0\nf()")
    assert (ran.code, ran.out) == (1, "")
    said = strip_ansi(ran.err)
    assert said.count("ZeroDivisionError: division by zero") == 1
    assert said.count("in f()") == 1
    lacks = demo("cell", "-c", "import cv2")
    assert lacks.code == 1
    assert "next: gpunb pip install" in lacks.err
    refused = demo("cell", "-c", "1 +")
    assert refused.code == 1
    assert strip_ansi(refused.err).count("SyntaxError: ") == 1
    told = demo("cell", "-c", "print('before')\n1 / 0", "--json")
    assert told.code == 1
    assert (told.json["state"], told.json["exit_code"], told.json["stdout"]) == ("error", 1, "before\n")
    assert told.json["outputs"][-1]["ename"] == "ZeroDivisionError"
    assert told.json["outputs"][-1]["traceback"]


def test_pictures_become_files_and_json_has_every_mime_type(demo: Gpunb) -> None:
    ran = demo("cell", "-c", PICTURE, "--figures", "out")
    assert (ran.code, ran.out) == (0, "between\n")
    (file,) = Path("out").iterdir()
    assert f"picture: {file}" in ran.err
    assert file.read_bytes() == base64.b64decode(PNG)
    newer = base64.b64encode(b"\x89PNG newer").decode()
    again = f"{PICTURE}handle.update({{'image/png': {newer!r}}}, raw=True)"
    assert demo("cell", "-c", again).code == 0
    (file,) = Path("figures").iterdir()
    assert file.read_bytes() == b"\x89PNG newer"
    told = demo("cell", "-c", PICTURE + "{'a': 1}", "--json").json
    display, text, value = told["outputs"]
    assert display["data"] == {"image/png": PNG, "text/plain": "<Figure>"}
    assert (text["name"], text["text"]) == ("stdout", "between\n")
    assert value["data"]["text/plain"] == "{'a': 1}"
    assert len(list(Path("figures").iterdir())) == 1, "with --json files are only made on request"
    broken = demo("cell", "-c", PICTURE.replace(PNG, "no base64!"), "--figures", "odd")
    assert "was not written" in broken.err
    Path("full").touch()
    assert demo("cell", "-c", PICTURE, "--figures", "full").code == 2


def test_what_a_strangers_terminal_codes_would_do(demo: Gpunb) -> None:
    assert demo("trust", "demo", "stranger").code == 0
    ran = demo("cell", "-c", r"print('a\x1b]52;c;AAAA\x07b\x1b[2Jc \x1b[31mred\x1b[0m')")
    assert ran.out == "abc \x1b[31mred\x1b[0m\n"
    told = demo("cell", "-c", "from IPython.display import Javascript\nJavascript('1')", "--json").json
    assert "application/javascript" not in str(told["outputs"])


def test_output_comes_while_it_runs_and_ctrl_c_interrupts_it_there(demo: Gpunb) -> None:
    assert demo("cell", "-c", "import time").code == 0
    typed = start("cell", "-c", "print('begun', flush=True)\ntime.sleep(60)")
    assert typed.stdout is not None
    assert typed.stdout.readline() == "begun\n"  # long before it ends
    typed.send_signal(signal.SIGINT)
    _, err = typed.communicate(timeout=30)
    assert typed.returncode == 130
    assert err.count("KeyboardInterrupt") == 2  # the traceback's head and its last line
    assert demo("cell", "-c", "print('free again')").out == "free again\n"


def test_a_killed_terminal_leaves_the_cell_running(demo: Gpunb) -> None:
    code = "import time\nprint('one', flush=True)\ntime.sleep(2)\nprint('two')\nkept = 7"
    typed = start("cell", "-c", code)
    assert typed.stdout is not None
    assert typed.stdout.readline() == "one\n"
    os.kill(typed.pid, signal.SIGKILL)
    typed.communicate(timeout=20)
    followed = demo("attach")
    assert (followed.code, followed.out) == (0, "one\ntwo\n")
    assert demo("cell", "-c", "kept").out == "7\n"


def test_detached(demo: Gpunb) -> None:
    begun = time.monotonic()
    told: Any = demo("cell", "-d", "--json", "-c", "import time\ntime.sleep(3)\nprint('late')").json
    assert time.monotonic() - begun < 3
    assert told["state"] in {"running", "queued"}
    assert demo("attach", told["run"]).out == "late\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["-c", "1", "-f", "a.py"], "takes one of -c and -f"),
        (["-f", "missing.py"], "missing.py"),
        (["-f", "book.ipynb"], "is a notebook"),
        (["-f", "bytes.py"], "is not text in its encoding"),
        (["-c", "  "], "-c has no code"),
        (["-c", "1", "-d", "--figures", "out"], "--figures would have no effect"),
    ],
)
def test_bad_input_runs_nothing(
    gpunb: Gpunb,
    line: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.ipynb").touch()
    Path("bytes.py").write_bytes(b"x = '\xff'")
    Path("a.py").write_text("1")
    ran = gpunb("cell", *line)
    assert ran.code == 2
    assert said in ran.err


def test_a_terminal_without_code_is_told_what_to_type(gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunb.cli.main import invoke
    from gpunb.errors import BadInput

    with pytest.raises(BadInput, match="needs code"):
        invoke("cell", door="notebook")
