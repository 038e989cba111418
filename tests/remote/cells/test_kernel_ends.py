"""A kernel is shut down and not just killed: files are flushed, atexit runs, whoever ends it."""

from __future__ import annotations

import json
import time

import pytest

from gpunb.agent.shared import processes
from gpunb.errors import RunError
from gpunb.output import show
from tests.remote.conftest import kernel_pid, wait_for

pytestmark = pytest.mark.slow

KEPT = """
import atexit, signal, time
open_file = open("results.txt", "w")
open_file.write("results of two hours")
atexit.register(lambda: open("atexit.txt", "w").write("ran"))
open("begun", "w").close()
"""


def restart(client):
    client.restart_kernel()


def settle(client):
    client.request("settle")


def shutdown(client):
    client.shutdown()


def lease(client):
    client.set_lease(time.time() - 1, None)


def stop(client):
    client.request("end_kernel", kernel="notebook1")


def written(host):
    files = [host.home / "results.txt", host.home / "atexit.txt"]
    return wait_for(lambda: all(file.exists() and file.read_text() for file in files)) and tuple(
        file.read_text() for file in files
    )


@pytest.mark.parametrize(
    ("way", "busy"),
    [(way, True) for way in (restart, settle, shutdown, lease, stop)] + [(restart, False), (lease, False)],
    ids=lambda value: getattr(value, "__name__", "busy" if value is True else "idle"),
)
def test_whoever_ends_a_kernel_it_flushes_and_says_goodbye(client, host, screen, way, busy):
    kernel = "notebook1" if way is stop else ""
    code = KEPT + ("time.sleep(60)" if busy else "")
    run = client.run_cell(code, kernel=kernel)
    if busy:
        wait_for((host.home / "begun").exists)
    else:
        show(run, screen)
    begin = time.monotonic()
    way(client)
    assert written(host) == ("results of two hours", "ran")
    assert time.monotonic() - begin < 12
    if busy and way is not shutdown:  # and the queue is not held up by the cell that was under way
        with pytest.raises(RunError):
            show(run, screen)
        begin = time.monotonic()
        if way is lease:
            client.set_lease(time.time() + 3600, None)
        show(client.run_cell("print('after')", kernel=kernel), screen)
        assert time.monotonic() - begin < 10
        assert screen.text().endswith("after\n")


BETWEEN = """
import os
kernel = get_ipython().kernel
ready = kernel.pre_handler_hook
kernel.pre_handler_hook = lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.2), ready())
"""


def test_a_cell_whose_request_is_read_as_the_kernel_is_ended_does_not_hold_it(client, host, screen):
    show(client.run_cell(KEPT + BETWEEN), screen)
    begin = time.monotonic()
    with pytest.raises(RunError):
        show(client.run_cell("time.sleep(600)"), screen)
    assert written(host) == ("results of two hours", "ran")
    assert time.monotonic() - begin < 300


def test_a_kernel_that_does_not_listen_is_killed_all_the_same(client, host, screen):
    show(client.run_cell("import atexit, time\natexit.register(time.sleep, 60)"), screen)
    pid = kernel_pid(host)
    begin = time.monotonic()
    client.restart_kernel()
    assert processes.start_time(pid) is None
    assert time.monotonic() - begin < 15


def test_the_kernel_of_a_notebook_job_too_when_it_ends_and_when_it_is_cancelled(client, host, screen):
    cells = [{"cell_type": "code", "metadata": {}, "source": KEPT, "outputs": [], "execution_count": None}]
    more = [{**cells[0], "source": "time.sleep(60)"}]
    for name, found in (("short", cells), ("long", cells + more)):
        (host.home / f"{name}.ipynb").write_text(
            json.dumps({"cells": found, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        )
    for name in ("short", "long"):
        for file in ("results.txt", "atexit.txt", "begun"):
            (host.home / file).unlink(missing_ok=True)
        folder = next((host.home / ".gpunb/agent").iterdir())
        run = client.run_job(
            [client.info.python, str(folder), "notebook", f"{name}.ipynb", f"{name}.out.ipynb"]
        )
        if name == "long":
            wait_for((host.home / "begun").exists)
            run.cancel()
            with pytest.raises(RunError):
                show(run, screen)
        else:
            show(run, screen)
        assert written(host) == ("results of two hours", "ran")
