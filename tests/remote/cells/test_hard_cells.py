"""Cells that do what cells should not."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gpunb.errors import KernelDied, RemoteCellError
from gpunb.output import TextSink, show
from gpunb.remote import AgentClient
from tests.remote.conftest import Screen, end_host, wait_for
from tests.support.machines.sshd import Sshd

pytestmark = pytest.mark.slow


def goes_on(client) -> None:
    screen = Screen()
    show(client.run_cell("print('goes on')"), screen)
    assert "goes on\n" in screen.text()


def test_a_cell_that_closes_stdout(client, screen):
    show(client.run_cell("import os, sys\nprint('before'); sys.stdout.flush()\nos.close(1)"), screen)
    assert "before\n" in screen.text()
    goes_on(client)


def test_a_cell_that_closes_the_stream_object(client, screen):
    with pytest.raises(RemoteCellError):
        show(client.run_cell("import sys\nsys.stdout.close()\nprint('x')\n1/0"), screen)
    client.restart_kernel()
    goes_on(client)


def test_a_cell_that_forks(client, screen):
    code = """
import os, sys
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("child", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print("parent")
"""
    show(client.run_cell(code), screen)
    assert "parent\n" in screen.text()
    goes_on(client)


def test_half_a_character_and_the_other_half_later(client, screen):
    show(
        client.run_cell(
            "import os, time\nos.write(1, b'\\xc3'); time.sleep(0.5); os.write(1, b'\\xa4 end\\n')"
        ),
        screen,
    )
    wait_for(lambda: "end" in screen.text())
    goes_on(client)


def test_an_exception_whose_str_raises(client, screen):
    code = "class Bad(Exception):\n    def __str__(self):\n        raise RuntimeError('no text')\nraise Bad"
    with pytest.raises(RemoteCellError, match="no text"):  # as a local kernel reports it
        show(client.run_cell(code), screen)
    goes_on(client)


def test_a_cell_that_kills_its_own_kernel(client, screen):
    with pytest.raises(KernelDied):
        show(client.run_cell("print('last words', flush=True)\nimport os; os._exit(3)"), screen)
    goes_on(client)


def test_a_hundred_megabytes_of_display_data(client):
    class Sizes(Screen):
        def display(self, content, *, update):
            self.events.append(len(content["data"]["text/html"]))

    screen = Sizes()
    code = "from IPython.display import display\ndisplay({'text/html': 'x' * 100_000_000}, raw=True)"
    show(client.run_cell(code), screen)
    assert screen.events[0] == 100_000_000
    goes_on(client)


def test_a_display_too_large_for_the_line_is_named_as_lost(client, screen):
    big = "display({'text/html': 'x' * 300_000_000}, raw=True)"
    code = f"from IPython.display import display\n{big}\nprint('after')"
    show(client.run_cell(code), screen)
    notes = [event[1] for event in screen.events if event[0] == "note"]
    assert any("lost" in note for note in notes)
    assert "after\n" in screen.text()


def test_a_gigabyte_printed_is_counted_to_the_last_byte(client):
    class Count(TextSink):
        size = 0

        def stream(self, name, text):
            self.size += len(text)

        def finish(self):
            pass

    sink = Count()
    code = "block = ('x' * 1023 + '\\n') * 1024\nfor _ in range(1000):\n    print(block, end='')"
    show(client.run_cell(code), sink)
    assert sink.size == 1024 * 1024 * 1000
    agents = subprocess.run(
        ["pgrep", "-f", f"{client.info.home}/.gpunb/agent/[0-9a-f]* serve"], capture_output=True
    )
    status = Path(f"/proc/{int(agents.stdout.split()[0])}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 250_000  # kB: the flood was on the disk, not in memory


def test_a_full_disk_lets_the_run_go_on_and_names_the_loss():
    root = Path(tempfile.mkdtemp(prefix="gpunb-t-"))
    disk = root / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        host = Sshd(disk / "host").start()
        try:
            with AgentClient.connect(host.endpoint(), python=sys.executable, trust="own") as client:
                code = (
                    "import os, time\n"
                    "for i in range(20):\n    print(('%03d' % i) * 300_000, flush=True); time.sleep(0.02)\n"
                    "print('THE END', flush=True)"
                )
                run = client.run_cell(code)
                screen = Screen()
                info = show(run, screen)
                assert info.state == "ok"
                notes = [event[1] for event in screen.events if event[0] == "note"]
                assert any("disk was full" in note for note in notes)
                assert screen.text().startswith("000")
        finally:
            host.stop()
            end_host(host.home)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        root.joinpath("disk").rmdir()


C = "import ctypes, os, sys, time; libc = ctypes.CDLL(None); print('step 1', flush=True)\n"
THREAD = """import threading
threading.Thread(target=lambda: (os.write(2, b'of a thread\\n'), os.abort())).start()
time.sleep(5)"""
CRASHES = {  # what ends the kernel, and what it says last
    "an uncaught C++ exception": ("os.write(2, b'terminate called\\n'); os.abort()", "terminate called"),
    "without the interpreter's lock": (
        "libc.dprintf(2, b'an assertion failed\\n'); libc.abort()",
        "an assertion failed",
    ),
    "on stdout": ("os.write(1, b'last on stdout\\n'); os.abort()", "last on stdout"),
    "a moment later": ("os.write(2, b'half a second\\n'); time.sleep(0.1); os.abort()", "half a second"),
    "many words": ("os.write(2, b'word ' * 8000 + b'the end\\n'); os.abort()", "the end"),
    "a segmentation fault": ("ctypes.string_at(0)", "Fatal Python error: Segmentation fault"),
    "in another thread": (
        THREAD,
        "of a thread",
    ),
    "in C's own buffer": ("libc.puts(b'flushed'); libc.fflush(None); os._exit(3)", "flushed"),
    "killed": ("os.write(2, b'out of memory\\n'); os.kill(os.getpid(), 9)", "out of memory"),
    "from a child": ("os.system('echo of a child >&2'); os.abort()", "of a child"),
}


def test_the_last_words_of_a_crash_are_in_the_cell_its_journal_and_the_log(client, host):
    for name, (code, words) in CRASHES.items():
        screen, run = Screen(), client.run_cell(C + code)
        with pytest.raises(KernelDied) as caught:
            show(run, screen)
        shown = screen.text("stdout") + screen.text("stderr")
        assert shown.count("step 1") == 1, name
        # twice at most: once more, if the kernel ended after it had sent them and before it noted that
        assert 1 <= shown.count(words) <= 2, (name, shown[-300:])
        again = Screen()
        handle = client.attach(run.id)
        with pytest.raises(KernelDied):
            show(handle, again)
        assert words in again.text("stdout") + again.text("stderr"), name
        if name != "a moment later":  # else it was shown before, in its place
            assert "its last words: " in caught.value.message, name
            assert words in (host.home / ".gpunb/kernels/main/log").read_text(errors="replace"), name
    goes_on(client)
