"""Secrets of a run: in its environment, and nowhere else on the host."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from gpunb.errors import JobFailed, RemoteCellError, RunError
from gpunb.output import show
from tests.remote.conftest import Screen, kernel_pid, kill_agent, wait_for

pytestmark = pytest.mark.slow

NAME = "CANARY_TOKEN"
CANARY = "hf_canary_93b1c7d2e0"
LOOK = f"import os; print(os.environ.get({NAME!r}, 'nothing')[:5])"


def found_on_disk(root: Path) -> list[str]:
    """Files below `root` that hold the canary."""
    hits = []
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and CANARY.encode() in path.read_bytes():
                hits.append(str(path))
    return hits


def command_lines() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return "\n".join(lines)


def test_a_cell_has_its_secret_for_its_time_only(client, host, screen):
    show(client.run_cell(LOOK), screen)
    given = {NAME: CANARY}
    show(client.run_cell(LOOK, secrets=given), screen)
    show(client.run_cell(LOOK), screen)
    with pytest.raises(RemoteCellError):
        show(client.run_cell(f"{LOOK}\n1 / 0", secrets=given), screen)
    show(client.run_cell(LOOK), screen)
    assert screen.text().split() == ["nothi", "hf_ca", "nothi", "hf_ca", "nothi"]
    assert CANARY not in command_lines()
    assert found_on_disk(host.home) == []
    history = client.kernel_request(
        "history_request", {"hist_access_type": "tail", "n": 100, "output": True, "raw": True}
    )
    assert CANARY not in json.dumps(history)


def test_a_variable_that_was_there_comes_back(client, screen):
    show(client.run_cell(f"import os; os.environ[{NAME!r}] = 'before'"), screen)
    show(client.run_cell(LOOK, secrets={NAME: CANARY}), screen)
    show(client.run_cell(LOOK), screen)
    assert screen.text().split() == ["hf_ca", "befor"]


def test_what_the_run_prints_of_it_is_hidden_here(client, screen):
    code = f"""
import os, sys, time
word = os.environ[{NAME!r}]
for piece in ('a ', word[:7], word[7:], ' b ', word, '\\n'):
    sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.12)
display({{'text/plain': 'shown ' + word}}, raw=True)
raise KeyError(word)
"""
    with pytest.raises(RemoteCellError) as caught:
        show(client.run_cell(code, secrets={NAME: CANARY}), screen)
    assert screen.text() == "a **** b ****\n"
    assert CANARY not in repr(screen.events)
    assert "shown ****" in repr(screen.events)
    assert CANARY not in str(caught.value)
    assert CANARY not in "".join(caught.value.traceback)


def test_a_job_has_it_in_its_process_and_not_in_its_keeper(client, host, screen):
    line = f"import os, time; print(os.environ[{NAME!r}][:5], flush=True); time.sleep(1)"
    run = client.run_job([client.info.python, "-c", line], secrets={NAME: CANARY})
    search = ["pgrep", "-f", f"keep {host.home}/.gpunb/runs/{run.id}"]
    keeper = wait_for(lambda: subprocess.run(search, capture_output=True).stdout.decode().split())
    assert CANARY.encode() not in Path(f"/proc/{keeper[0]}/environ").read_bytes()
    show(run, screen)
    assert screen.text() == "hf_ca\n"
    assert found_on_disk(host.home) == []
    assert json.loads((host.home / f".gpunb/runs/{run.id}/about.json").read_text())["secrets"] == [NAME]


def test_a_job_that_starts_again_still_has_it(client, tmp_path, screen):
    mark = tmp_path / "mark"
    line = f'[ -e {mark} ] && echo "$' + "{" + NAME + '%%_*}" && exit 0; touch ' + str(mark) + "; exit 3"
    show(client.run_job(shell=line, secrets={NAME: CANARY}, restart="on-failure:2"), screen)
    assert "hf\n" in screen.text()


def test_without_the_memory_that_held_it_a_run_says_so(client, host, reconnect):
    slow = client.run_cell("import time; time.sleep(3)")
    waiting = client.run_cell(LOOK, secrets={NAME: CANARY})
    wait_for(lambda: slow.info().state == "running")
    pid = kernel_pid(host)
    kill_agent(host)
    client.close()
    again = reconnect()
    with pytest.raises(RunError, match="memory of a process that ended"):
        show(again.attach(waiting.id), Screen())
    assert kernel_pid(host) == pid
    assert found_on_disk(host.home) == []


@pytest.mark.parametrize(
    "given", [{"A B": "x"}, {"A": "\0"}, {"A": "x" * 40_000}, {f"A{n}": "x" for n in range(30)}]
)
def test_what_is_no_secret_is_refused(client, given):
    with pytest.raises(RunError, match="secrets: "):
        show(client.run_cell("pass", secrets=given), Screen())
    with pytest.raises((RunError, JobFailed), match="secrets: "):
        show(client.run_job(["true"], secrets=given), Screen())
