"""No lost output: lines that break, agents that are killed, hosts that go away."""

from __future__ import annotations

import random
import threading
import time

import pytest

from gpunb.errors import KernelDied, Unreachable
from gpunb.output import show
from gpunb.remote import AgentClient
from tests.remote.conftest import Screen, kernel_pid, kill_agent, wait_for
from tests.support.machines.proxy import Proxy

pytestmark = pytest.mark.slow

COUNT = "import time\nfor i in range(100):\n    print(i, flush=True); time.sleep(0.02)"
WANTED = "".join(f"{i}\n" for i in range(100))


@pytest.fixture
def proxied(host):
    """A client behind a line that can be cut, and the cutter."""
    import sys

    with Proxy(host.port) as proxy:
        endpoint = host.endpoint(port=proxy.port)
        with AgentClient.connect(endpoint, python=sys.executable, trust="own", patience=60) as client:
            yield client, proxy


def test_every_line_once_and_in_order_over_cuts(proxied):
    client, proxy = proxied
    random.seed(7)
    stop = threading.Event()

    def cut():
        while not stop.wait(random.uniform(0.5, 1.2)):
            proxy.drop()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for _ in range(3):
            screen = Screen()
            assert show(client.run_cell(COUNT), screen).state == "ok"
            assert screen.text() == WANTED
    finally:
        stop.set()
        thread.join()


def test_a_cell_that_ends_while_the_line_is_down_is_not_stuck(proxied):
    client, proxy = proxied
    run = client.run_cell("import time; time.sleep(0.5); print('ended in the dark')")
    time.sleep(0.2)
    proxy.cut()
    time.sleep(1)
    proxy.restore()
    screen = Screen()
    assert show(run, screen).state == "ok"
    assert screen.text() == "ended in the dark\n"


def test_sshd_killed_and_back(host, client):
    run = client.run_cell(COUNT)
    screen = Screen()
    thread = threading.Thread(target=lambda: show(run, screen, interactive=False))
    thread.start()
    wait_for(lambda: "5\n" in screen.text())
    port = host.port
    host.stop()
    time.sleep(0.5)
    host.start(port)
    thread.join(60)
    assert screen.text() == WANTED


def test_the_agent_killed_in_mid_cell_is_back_with_the_living_kernel(host, client):
    show(client.run_cell("kept = 'still here'"), Screen())
    pid = kernel_pid(host)
    run = client.run_cell("import time\nprint('begun', flush=True)\ntime.sleep(2)\nprint('ended')")
    screen = Screen()
    thread = threading.Thread(target=lambda: show(run, screen, interactive=False))
    thread.start()
    wait_for(lambda: "begun" in screen.text())
    kill_agent(host)
    thread.join(60)
    assert screen.text() == "begun\nended\n"
    assert kernel_pid(host) == pid
    after = Screen()
    show(client.run_cell("print(kept)"), after)
    assert after.text() == "still here\n"
    assert client.run_info(run.id).state == "ok"


def test_a_job_outlives_agent_and_line(host, client):
    run = client.run_job(shell="for i in $(seq 40); do echo $i; sleep 0.05; done")
    screen = Screen()
    thread = threading.Thread(target=lambda: show(run, screen, interactive=False))
    thread.start()
    wait_for(lambda: "5\n" in screen.text())
    kill_agent(host)
    thread.join(60)
    assert screen.text() == "".join(f"{i}\n" for i in range(1, 41))
    assert client.run_info(run.id).state == "ok"


def test_waiting_cells_are_not_run_twice_by_a_new_agent(host, client):
    first = client.run_cell("import time; time.sleep(1.5); n = globals().get('n', 0) + 1")
    second = client.run_cell("n = globals().get('n', 0) + 10")
    wait_for(lambda: client.run_info(first.id).state == "running")
    kill_agent(host)
    show(first, Screen())
    show(second, Screen())
    screen = Screen()
    show(client.run_cell("print(n)"), screen)
    assert screen.text() == "11\n"


def test_a_line_that_stays_down_is_told_after_the_patience(proxied):
    client, proxy = proxied
    client.patience = 1.0
    run = client.run_cell("import time; time.sleep(30)")
    wait_for(lambda: client.run_info(run.id).state == "running")
    proxy.cut()
    with pytest.raises(Unreachable):
        show(run, Screen())
    with pytest.raises(Unreachable):
        client.runs()


def test_an_agent_killed_in_a_flood_loses_nothing(host, client):
    code = "for i in range(40_000):\n    print(i, flush=True)"
    run = client.run_cell(code)
    screen = Screen()
    thread = threading.Thread(target=lambda: show(run, screen, interactive=False))
    thread.start()
    for wanted in ("3000\n", "15000\n"):
        wait_for(lambda wanted=wanted: wanted in screen.text(), 40)
        kill_agent(host)
    thread.join(90)
    assert screen.text() == "".join(f"{i}\n" for i in range(40_000))


def test_what_a_kernel_said_before_it_was_killed_is_kept(host, client):
    count = "for i in range(5_000):\n    print(i, flush=True)"
    code = f"import os, signal\n{count}\nos.kill(os.getpid(), signal.SIGKILL)"
    screen = Screen()
    with pytest.raises(KernelDied):
        show(client.run_cell(code), screen)
    lines = screen.text().splitlines()
    assert lines == [str(i) for i in range(len(lines))]
    assert len(lines) > 4_900  # the last ones may not have left the kernel's own thread


def test_a_journal_that_is_trimmed_says_so_and_shows_the_end(host):
    import sys

    enter = host.root / "enter"
    enter.write_text(
        enter.read_text().replace("export HOME", "export GPUNB_JOURNAL_MAX=4000000\nexport HOME")
    )
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="own") as client:
        run = client.run_cell(
            "for i in range(300):\n    print(f'{i:06}' * 5_000, flush=True)\nprint('THE END')"
        )
        wait_for(lambda: client.run_info(run.id).state == "ok", 60)
        screen = Screen()
        assert show(client.attach(run.id), screen).state == "ok"
    assert screen.text().startswith("000000")
    assert screen.text().endswith("THE END\n")
    notes = [event[1] for event in screen.events if event[0] == "note"]
    assert len(notes) == 1
    assert "no longer kept" in notes[0]
