from __future__ import annotations

import os
import subprocess
import time

import pytest

from gpunb.errors import JobFailed, RunError
from gpunb.output import show
from tests.remote.conftest import Screen, wait_for

pytestmark = pytest.mark.slow


def test_output_order_exit_code_and_environment(client, screen):
    shell = "echo $GREETING in $PWD; echo oops >&2; exit 3"
    run = client.run_job(shell=shell, env={"GREETING": "hello"}, cwd="/tmp")
    with pytest.raises(JobFailed, match="exit code 3") as caught:
        show(run, screen)
    assert caught.value.exit_code == 3
    assert screen.text() == "hello in /tmp\n"
    assert screen.text("stderr") == "oops\n"


def test_a_job_runs_in_the_home_folder_by_default(client, host, screen):
    show(client.run_job(["pwd"]), screen)
    assert screen.text().strip() == str(host.home)


def test_bytes_that_are_not_utf8_and_torn_characters(client, screen):
    shell = r"printf '\303'; sleep 0.3; printf '\244 \377\n'"
    show(client.run_job(shell=shell), screen)
    assert screen.text() == "ä \ufffd\n"


def test_cancel_ends_the_whole_tree(client, screen):
    run = client.run_job(shell="setsid sleep 987 & sleep 987 & echo up; wait")
    wait_for(lambda: client.run_info(run.id).last >= 2)
    assert client.cancel(run.id).state == "cancelled"
    with pytest.raises(JobFailed, match="cancelled"):
        show(run, screen)
    out = subprocess.run(["pgrep", "-f", "sleep 987"], capture_output=True, text=True)
    assert out.stdout == ""


def test_a_job_that_leaves_a_child_behind_ends_all_the_same(client, screen):
    started = time.monotonic()
    show(client.run_job(shell="sleep 30 & echo done"), screen)
    assert screen.text() == "done\n"
    assert time.monotonic() - started < 20


def test_a_command_that_is_not_there(client, screen):
    with pytest.raises(JobFailed, match="can't start") as caught:
        show(client.run_job(["/no/such/program"]), screen)
    assert caught.value.exit_code == 127


def test_a_killed_job_says_so(client, screen):
    with pytest.raises(JobFailed, match="SIGKILL"):
        show(client.run_job(shell="kill -9 $$"), screen)


def test_a_killed_keeper_is_noticed_and_its_job_ended(client, host, screen):
    run = client.run_job(shell="echo up; sleep 654")
    wait_for(lambda: client.run_info(run.id).last >= 2)
    import json

    process = json.loads((host.home / ".gpunb" / "runs" / run.id / "process.json").read_text())
    os.kill(process["keeper"], 9)
    with pytest.raises(JobFailed, match="keeper"):
        show(run, screen)
    assert subprocess.run(["pgrep", "-f", "sleep 654"], capture_output=True).returncode == 1


def test_jobs_run_beside_each_other_and_beside_a_cell(client):
    started = time.monotonic()
    runs = [client.run_job(["sleep", "1"]) for _ in range(3)] + [
        client.run_cell("import time; time.sleep(1)")
    ]
    for run in runs:
        show(run, Screen())
    assert time.monotonic() - started < 3.5


def test_a_bad_request_is_refused_in_words(client):
    with pytest.raises(RunError, match="argv"):
        show(client.run_job([]), Screen())
    with pytest.raises(RunError, match="8 to 32"):
        show(client.run_job(["true"], run_id="Bad Id"), Screen())
