"""Jobs that wait for GPUs, that are started again, and that outlive what breaks under them."""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import psutil
import pytest

from gpunb.agent.shared import processes
from gpunb.errors import JobFailed, RunError
from gpunb.output import show
from gpunb.remote import AgentClient
from tests.remote.conftest import Screen, kill_agent, wait_for
from tests.support import smi

pytestmark = pytest.mark.slow

NAP = "echo on $CUDA_VISIBLE_DEVICES; sleep 600"


@pytest.fixture
def gpus(host):
    """A client of a host with two GPUs."""
    smi.put_on(host, 2)
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="own") as found:
        yield found


def state(client, run):
    return client.run_info(run.id).state


def process(host, run):
    return json.loads((host.home / ".gpunb" / "runs" / run.id / "process.json").read_text())


def text_of(client, run):
    screen = Screen()
    handle = client.attach(run.id)
    last = client.run_info(run.id).last
    from gpunb.output.player import Player

    player = Player(handle, screen, interactive=False)
    while last:
        record = handle.next(5)
        player.play(record)
        if record.number >= last:
            break
    handle.close()
    return screen.text()


def test_gpus_are_given_in_order_and_nobody_overtakes(gpus):
    one = gpus.run_job(shell=NAP, gpus=1)
    wait_for(lambda: state(gpus, one) == "running")
    both = gpus.run_job(shell=NAP, gpus=2)
    late = gpus.run_job(shell=NAP, gpus=1)
    none = gpus.run_job(shell="echo none: $CUDA_VISIBLE_DEVICES")
    show(none, screen := Screen())
    assert screen.text() == "none:\n"
    waiting = gpus.run_info(both.id)
    assert (waiting.state, waiting.wants, waiting.why) == ("queued", 2, "waits for 2 GPUs")
    assert state(gpus, late) == "queued"
    gpus.cancel(one.id)
    wait_for(lambda: state(gpus, both) == "running")
    assert gpus.run_info(both.id).gpus == ("0", "1")
    wait_for(lambda: "on 0,1" in text_of(gpus, both))
    assert state(gpus, late) == "queued"
    gpus.cancel(both.id)
    wait_for(lambda: state(gpus, late) == "running")
    gpus.cancel(late.id)


def test_a_waiting_job_can_be_cancelled_and_followed(gpus):
    held = gpus.run_job(shell="sleep 600", gpus=2)
    wait_for(lambda: state(gpus, held) == "running")
    waiting = gpus.run_job(shell="echo never", gpus=1)
    assert gpus.cancel(waiting.id).state == "cancelled"
    screen = Screen()
    with pytest.raises(JobFailed, match="had not started"):
        show(waiting, screen)
    assert screen.text() == ""
    info = gpus.run_info(waiting.id)
    assert (info.started, info.exit_code) == (None, 130)
    gpus.cancel(held.id)


def test_more_gpus_than_there_are_is_refused(gpus, client):
    with pytest.raises(JobFailed, match="asks for 3 GPUs, and this host has 2"):
        show(gpus.run_job(["true"], gpus=3), Screen())
    with pytest.raises(RunError, match="restart: 'always'"):
        show(gpus.run_job(["true"], restart="always"), Screen())


def test_a_host_without_gpus_says_so(client):
    if os.path.exists("/usr/bin/nvidia-smi"):
        pytest.skip("this machine has GPUs")
    with pytest.raises(JobFailed, match="this host has 0"):
        show(client.run_job(["true"], gpus=1), Screen())


def test_the_queue_survives_the_agents_kill(gpus, host):
    held = gpus.run_job(shell=NAP, gpus=1)
    wait_for(lambda: state(gpus, held) == "running")
    waiting = [gpus.run_job(shell=NAP, gpus=2), gpus.run_job(shell=NAP, gpus=1)]
    wait_for(lambda: state(gpus, waiting[1]) == "queued")
    kill_agent(host)
    assert [state(gpus, run) for run in (held, *waiting)] == ["running", "queued", "queued"]
    assert gpus.run_info(held.id).gpus == ("0",)
    gpus.cancel(held.id)
    wait_for(lambda: state(gpus, waiting[0]) == "running")
    assert gpus.run_info(waiting[0].id).gpus == ("0", "1")
    for run in reversed(waiting):
        gpus.cancel(run.id)


def test_a_job_without_a_keeper_is_started_after_the_agents_kill(client, host):
    """Killed between writing down what a job is given and starting its keeper."""
    done = client.run_job(["true"])
    show(done, Screen())
    runs = host.home / ".gpunb" / "runs"
    kill_agent(host)
    folder = runs / "lostlostlost"
    folder.mkdir(mode=0o700)
    about = json.loads((runs / done.id / "about.json").read_text())
    about.update(id="lostlostlost", argv=None, shell="echo here I am")
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "placed.json").write_text('{"gpus": []}')
    wait_for(lambda: client.run_info("lostlostlost").state == "ok")
    assert text_of(client, client.attach("lostlostlost")) == "here I am\n"


def test_on_failure_starts_again_as_often_as_said(client):
    run = client.run_job(shell="echo try $GPUNB_ATTEMPT; exit 5", restart="on-failure:1")
    screen = Screen()
    with pytest.raises(JobFailed, match="exit code 5"):
        show(run, screen)
    assert screen.text() == "try 1\ntry 2\n"
    assert [event[1] for event in screen.events if event[0] == "note"] == [
        "started again (attempt 2): exit code 5"
    ]
    assert client.run_info(run.id).attempt == 2


def test_on_failure_ends_with_success(client):
    run = client.run_job(shell="test $GPUNB_ATTEMPT = 2", restart="on-failure")
    assert show(run, Screen()).state == "ok"


def test_on_lost_does_not_start_a_failed_command_again(client):
    run = client.run_job(shell="exit 4", restart="on-lost")
    with pytest.raises(JobFailed, match="exit code 4"):
        show(run, Screen())
    assert client.run_info(run.id).attempt == 1


def test_a_lost_job_is_started_again(client, host):
    run = client.run_job(
        shell="echo up $GPUNB_ATTEMPT; test $GPUNB_ATTEMPT = 2 || sleep 654", restart="on-lost"
    )
    wait_for(lambda: "up 1" in text_of(client, run))
    known = process(host, run)
    os.kill(known["keeper"], 9)
    screen = Screen()
    assert show(client.attach(run.id), screen).state == "ok"
    assert screen.text() == "up 1\nup 2\n"
    assert processes.start_time(known["pid"]) is None


def test_a_host_that_goes_down_leaves_its_jobs_to_be_started_again(client, host, reconnect):
    """TERM to every process, as a system that stops does it; then nothing is left; then it is back."""
    lasting = client.run_job(
        shell="echo up $GPUNB_ATTEMPT; test $GPUNB_ATTEMPT = 2 || sleep 655", restart="on-lost"
    )
    once = client.run_job(shell="echo up; sleep 656")
    wait_for(lambda: client.run_info(once.id).last >= 2 and client.run_info(lasting.id).last >= 2)
    victims = [process(host, run) for run in (lasting, once)]
    client.close()
    kill_agent(host)
    for known in victims:
        for pid in (known["pid"], known["keeper"]):
            os.kill(pid, 15)
    wait_for(lambda: not any(processes.start_time(known["keeper"]) for known in victims))
    again = reconnect()
    wait_for(lambda: again.run_info(lasting.id).state == "ok")
    assert text_of(again, lasting) == "up 1\nup 2\n"
    assert again.run_info(once.id).state == "died"


def test_stop_and_start_goes_on_with_what_has_a_policy(gpus, host, reconnect):
    lasting = gpus.run_job(shell="test $GPUNB_ATTEMPT = 2 || sleep 657", restart="on-lost", gpus=1)
    once = gpus.run_job(shell="sleep 658")
    waiting = gpus.run_job(shell="echo my turn", restart="on-lost", gpus=2)
    dropped = gpus.run_job(shell="echo my turn", gpus=2)
    wait_for(lambda: state(gpus, lasting) == "running" and state(gpus, once) == "running")
    wait_for(lambda: process(host, lasting).get("pid"))
    gpus.shutdown()
    again = reconnect()
    assert [state(again, run) for run in (once, dropped)] == ["cancelled", "cancelled"]
    wait_for(lambda: state(again, lasting) == "ok" and state(again, waiting) == "ok")


def test_cancel_while_it_waits_to_be_started_again(client):
    run = client.run_job(shell="exit 1", restart="on-failure:50")
    wait_for(lambda: client.run_info(run.id).attempt >= 3)
    assert client.cancel(run.id).state == "cancelled"


def test_a_full_disk_loses_what_it_must_and_says_so(client, host):
    """The keeper may write no more for a while: as on a full disk, an OSError at every write."""
    shell = (
        "echo before; while ! test -e go; do sleep 0.05; done; "
        "head -c 300000 /dev/zero | tr '\\0' x; echo; sleep 0.4; "
        "touch said; while ! test -e on; do sleep 0.05; done; echo after"
    )
    run = client.run_job(shell=shell)
    wait_for(lambda: client.run_info(run.id).last >= 2)
    journal = host.home / ".gpunb" / "runs" / run.id / "journal"
    keeper = process(host, run)["keeper"]
    _, most = resource.prlimit(keeper, resource.RLIMIT_FSIZE)
    resource.prlimit(keeper, resource.RLIMIT_FSIZE, (journal.stat().st_size + 50, most))
    (host.home / "go").touch()
    wait_for((host.home / "said").exists)
    (host.home / "on").touch()
    time.sleep(1.0)  # the command has ended; its end can't be written
    assert client.run_info(run.id).state == "running"
    assert psutil.pid_exists(keeper)
    resource.prlimit(keeper, resource.RLIMIT_FSIZE, (most, most))
    screen = Screen()
    assert show(client.attach(run.id), screen).state == "ok"
    assert screen.text().startswith("before\n")
    notes = [event[1] for event in screen.events if event[0] == "note"]
    assert len(notes) == 1
    lost = int(notes[0].split()[0].replace(",", ""))
    assert notes[0].endswith("(the host says: the host's disk was full)")
    assert lost + len(screen.text()) == len("before\n") + 300001 + len("after\n")


def test_the_end_of_a_job_is_told(client):
    heard = []
    end = client.listen(heard.append)
    run = client.run_job(shell="exit 9", name="nine")
    wait_for(lambda: [head for head in heard if head["k"] == "run-ended"])
    (head,) = [head for head in heard if head["k"] == "run-ended"]
    assert (head["run"], head["name"], head["state"], head["exit"]) == (run.id, "nine", "error", 9)
    end()


def test_records_before_a_time(client):
    run = client.run_job(shell="echo one; sleep 2; echo two")
    show(run, Screen())
    info = client.run_info(run.id)
    assert client.request("before", run=run.id, age=1e9)["n"] == 0
    assert client.request("before", run=run.id, age=0)["n"] == info.last
    before = client.request("before", run=run.id, age=1.0 + time.time() - info.ended)["n"]
    assert 2 <= before < info.last
