"""What cuts a program short: its own end, Ctrl-C, a lost host. No call hangs, no bill is forgotten."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import gpunb
from gpunb.errors import Cancelled, GpunbError
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = pytest.mark.slow

ENDS = """
import gpunb
block = gpunb.rent(cloud="CLOUD", hours=0.5, name="block", save="out").__enter__()
block.exec("sh", "-c", "mkdir -p out; echo 0.9 > out/accuracy").check()
plain = gpunb.rent(cloud="CLOUD", hours=0.5, name="plain")
raise SystemExit("the program ends here")
""".replace("CLOUD", own_hosts.CLOUD)


def press(when: Callable[[], object]) -> AbstractContextManager[None]:
    """Ctrl-C, in the main thread, once `when` is true."""
    from contextlib import contextmanager

    main = threading.main_thread().ident
    assert main is not None
    over = threading.Event()

    def wait() -> None:
        until = time.monotonic() + 60.0
        while time.monotonic() < until and not over.is_set():
            if when():
                signal.pthread_kill(main, signal.SIGINT)
                return
            time.sleep(0.02)

    @contextmanager
    def pressed() -> Iterator[None]:
        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    return pressed()


def test_a_process_that_ends_in_a_block_ends_its_session(work: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS], timeout=300, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "the program ends here" in done.stderr
    assert (work / "out" / "accuracy").read_text() == "0.9\n", "results first"
    (left,) = gpunb.sessions()
    assert left.name == "plain", "one without a block stays under its lease"
    assert "plain runs on" in done.stderr
    assert "gpunb down plain ends it" in done.stderr
    assert "block" not in done.stderr
    left.down()
    assert own_hosts.instances() == []


def test_ctrl_c_while_it_rents_leaves_nothing(work: Path) -> None:
    with press(own_hosts.instances), pytest.raises((Cancelled, KeyboardInterrupt)):
        gpunb.rent(cloud=own_hosts.CLOUD, hours=0.5)
    assert own_hosts.instances() == []
    assert gpunb.sessions() == []


def test_ctrl_c_in_a_map_frees_the_kernel(session: gpunb.Session, work: Path) -> None:
    there = session.function(begins)
    began = work / "began"
    with press(began.exists), pytest.raises(KeyboardInterrupt):
        list(there.map([str(began)] * 50))
    assert len(began.read_text()) <= 4, "of the calls that waited none began"
    assert session.run_cell("1").text == "1\n"


def begins(file: str) -> None:
    import time

    with open(file, "a") as out:
        out.write(".")
    time.sleep(600)


def test_a_host_that_is_gone_ends_each_call(session: gpunb.Session, work: Path) -> None:
    there = session.function(begins)
    began = work / "began"
    futures = [there.submit(str(began)) for _ in range(6)]
    until = time.monotonic() + 60.0
    while not began.exists() and time.monotonic() < until:
        time.sleep(0.05)
    own_hosts.provider().destroy(session.record.instance_id)
    errors = [one.exception(timeout=240) for one in futures]
    assert all(isinstance(one, GpunbError) and "demo" in str(one) for one in errors), errors
    assert all("next: gpunb show demo" in str(one) for one in errors), errors
