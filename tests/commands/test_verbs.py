"""The verbs from rent to down, in a terminal, on a real local host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpunb.sessions.access import host_access
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, time, pathlib
print("args", sys.argv[1:], flush=True)
print("on the side", file=sys.stderr, flush=True)
pathlib.Path("out").mkdir(exist_ok=True)
pathlib.Path("out/result.txt").write_text("42")
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""


def wait_for(what: str, test: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not test():  # type: ignore[operator]
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)


def test_the_whole_story(demo: Gpunb, home: Path) -> None:
    Path("data").mkdir()
    Path("data/numbers.txt").write_text("1 2 3")
    Path("train.py").write_text(SCRIPT)
    assert demo("sync", "data", ":data").code == 0
    seen = demo("exec", "--", "cat", "data/numbers.txt")
    assert (seen.code, seen.out) == (0, "1 2 3")
    ran = demo("run", "train.py", "--", "0", "--lr", "0.1")
    assert ran.code == 0, ran.err
    assert "args ['0', '--lr', '0.1']" in ran.out
    assert "on the side" in ran.err
    assert demo("sync", ":out", "out").code == 0
    assert Path("out/result.txt").read_text() == "42"
    (job,) = demo("runs", "--jobs", "--json").json
    assert (job["name"], job["state"], job["exit_code"]) == ("train.py", "ok", 0)
    assert "args" in demo("logs").out
    (session,) = demo("ps", "--json").json
    assert (session["name"], session["state"], session["running"]) == ("demo", "ready", [])
    down = demo("down", "--yes")
    assert down.code == 0, down.err
    for word in ("receipt: demo", "cost", "$0.00", "1, of them 1 ok", f"confirmed by {own_hosts.CLOUD} at"):
        assert word in down.out
    assert own_hosts.instances() == []
    assert "nothing is rented" in demo("ps").out
    (ended,) = demo("ps", "--all", "--json").json
    assert ended["state"] == "gone"
    assert "has ended already" in demo("down", "demo").err


def test_exit_codes_and_streams_pass_through(demo: Gpunb) -> None:
    ran = demo("exec", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran.code, ran.out, ran.err) == (7, "out\n", "err\n")
    ran = demo("exec", "--json", "--", "printf", "a b")
    assert ran.json == {"session": "demo", "exit_code": 0, "stdout": "a b", "stderr": ""}
    ran = demo("exec", "--", "printf", r"\377\000x")
    assert ran.code == 0
    Path("fail.py").write_text(SCRIPT)
    ran = demo("run", "fail.py", "--", "9")
    assert ran.code == 9
    assert "args ['9']" in ran.out
    assert "error:" in ran.err
    run_id = demo("runs", "--json").json[0]["id"]
    logs = demo("logs", run_id[:6])
    assert logs.code == 0
    assert "exit code 9" in logs.out
    assert demo("attach", run_id).code == 9


def test_words_arrive_unexpanded(demo: Gpunb) -> None:
    ran = demo("exec", "--", "printf", "%s|", "a b", "$HOME", "*", "'", '"', ";ls")
    assert ran.out == "a b|$HOME|*|'|\"|;ls|"


def test_detach_logs_follow_and_cancel(demo: Gpunb) -> None:
    line = "echo one; sleep 0.5; echo two; sleep 600"
    started = demo("run", "--shell", line, "--detach", "--name", "sleeper")
    assert started.code == 0
    run_id = demo("runs", "--json").json[0]["id"]
    assert run_id in started.out
    (session,) = demo("ps", "--json").json
    assert [run["id"] for run in session["running"]] == [run_id]
    assert "sleeper" in demo("ps").out
    wait_for("the second line", lambda: "two" in demo("logs", run_id).out)
    assert demo("logs", run_id, "--tail", "1").out.splitlines()[0] == "two"
    assert demo("logs", "--json", run_id).json["text"] == "one\ntwo\n"
    follower = subprocess.Popen(
        [sys.executable, "-m", "gpunb", "logs", run_id, "-f"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "one\n"
        cancelled = demo("cancel", run_id)
        assert cancelled.code == 0
        assert "two" in follower.stdout.read()
        assert follower.wait(30) == 0
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()  # type: ignore[union-attr]
    wait_for("the note of the end", lambda: demo("runs", "--jobs", "--json").json[0]["state"] == "cancelled")
    assert demo("runs", "--json").json[0]["state"] == "cancelled"
    assert "had ended already" in demo("cancel", run_id).out


def test_ctrl_c_leaves_logs_and_ends_a_followed_run(demo: Gpunb) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "gpunb", "run", "--shell", "echo up; sleep 600"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    watcher = subprocess.Popen(
        [sys.executable, "-m", "gpunb", "logs", "-f"], stdout=subprocess.PIPE, text=True
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "up\n"
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(30) == 130
    assert demo("runs", "--jobs", "--json").json[0]["state"] == "running"
    child.send_signal(signal.SIGINT)
    assert child.wait(30) != 0
    assert demo("runs", "--jobs", "--json").json[0]["state"] == "cancelled"
    for one in (child, watcher):
        one.stdout.close()  # type: ignore[union-attr]


def test_run_with_a_folder_a_module_and_a_path_on_the_host(demo: Gpunb) -> None:
    Path("proj/pkg").mkdir(parents=True)
    Path("proj/pkg/__init__.py").write_text("")
    Path("proj/pkg/tool.py").write_text("import sys; print('tool', sys.argv[1:])")
    Path("proj/main.py").write_text("from pkg import tool; import os; print(os.path.basename(os.getcwd()))")
    ran = demo("run", "main.py", "--sync", "proj")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == "proj"
    ran = demo("run", "-m", "pkg.tool", "--cwd", "proj", "--", "-x", "1")
    assert "tool ['-x', '1']" in ran.out
    ran = demo("run", ":proj/pkg/tool.py", "-e", "A=1")
    assert "tool []" in ran.out
    assert "not inside" in demo("run", __file__, "--sync", "proj").err
    assert demo("run", ":not/there.py").code == 2


def test_run_fetches_from_the_folder_it_ran_in_also_after_a_failure(demo: Gpunb) -> None:
    Path("proj").mkdir()
    Path("proj/fit.py").write_text(
        "import os, sys; os.makedirs('out'); open('out/loss', 'w').write('0.5'); sys.exit(int(sys.argv[1]))"
    )
    ran = demo("run", "fit.py", "--sync", "proj", "--fetch", "out", "--", "3")
    assert ran.code == 3, ran.err
    assert Path("out/loss").read_text() == "0.5"
    assert "out: 1 file, 3 B" in ran.err
    Path("proj/fit.py").write_text("print('no results')")
    ran = demo("run", "fit.py", "--sync", "proj", "--fetch", "nothing")
    assert (ran.code, ran.out) == (1, "no results\n"), ran.err
    assert "not fetched: nothing: " in ran.err
    assert "gpunb sync demo:proj/nothing nothing tries again" in ran.err
    refused = demo("run", "fit.py", "-d", "--fetch", "out")
    assert "run --detach: --fetch would have no effect" in refused.err


def test_several_sessions_ask_which(demo: Gpunb) -> None:
    assert demo("rent", "--name", "other").code == 0
    asked = demo("exec", "--", "true")
    assert asked.code == 1
    assert "demo" in asked.err
    assert "other" in asked.err
    assert "next: gpunb exec -s other -- true" in asked.err, "the one that was rented here last"
    assert demo("exec", "-s", "other", "--", "true").code == 0
    assert "next: gpunb show other" in demo("show").err
    taken = demo("rent", "--name", "demo")
    assert taken.code == 2
    assert "taken by a live session" in taken.err
    ended = demo("down", "--all", "--json", "--yes")
    assert ended.code == 0
    assert {row["name"] for row in ended.json} == {"demo", "other"}


def test_extend_show_and_ssh(demo: Gpunb) -> None:
    before = demo("ps", "--json").json[0]["lease"]["deadline"]
    assert demo("extend", "2h", "--idle", "1h").code == 0
    lease = demo("ps", "--json").json[0]["lease"]
    assert lease["deadline"] == pytest.approx(before + 7200, abs=5)
    assert lease["idle_s"] == 3600
    shown = demo("show", "dem")
    assert "own; " in shown.out
    assert "requested -> creating" in shown.out
    printed = demo("ssh", "--print")
    assert printed.out.startswith("ssh -F none")
    ran = subprocess.run(
        ["sh", "-c", printed.out.replace(" -t ", " -T ").strip() + " echo over ssh"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.stdout == "over ssh\n"
    block = demo("ssh", "--config")
    assert "HostName 127.0.0.1" in block.out
    assert "gpunb extend demo --count-ssh counts logins" in block.err, "an editor is idle"
    assert "--count-ssh" not in block.out


@own_hosts.only_local
def test_stop_and_start(demo: Gpunb) -> None:
    assert demo("exec", "--", "sh", "-c", "echo kept > note").code == 0
    stopped = demo("stop", "--yes")
    assert stopped.code == 0, stopped.err
    assert demo("ps", "--json").json[0]["state"] == "stopped"
    refused = demo("exec", "--", "true")
    assert refused.code == 1
    assert demo("start").code == 0
    assert demo("exec", "--", "cat", "note").out == "kept\n"


@own_hosts.only_local
@pytest.mark.parametrize("noticed", [False, True])
def test_host_dies_between_verbs(demo: Gpunb, noticed: bool) -> None:
    (instance,) = own_hosts.instances()
    assert demo("exec", "--", "true").code == 0
    running = json.loads((Path(str(instance.raw["directory"])) / "running.json").read_text())
    os.kill(running["pid"], signal.SIGKILL)
    (held,) = host_access._held.values()
    assert held.agent is not None
    end = time.monotonic() + 30
    while noticed and held.agent.connected:
        assert time.monotonic() < end
        time.sleep(0.05)
    failed = demo("exec", "--", "true")
    assert failed.code == 1
    assert failed.err.startswith("error: ")
    assert "Traceback" not in failed.err
    assert demo("ps").code == 0
    ended = demo("down", "--yes")
    assert ended.code == 0, ended.err
    assert "confirmed by" in ended.out


def test_saves_come_back_at_the_end(gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert gpunb("rent", "--name", "keeper", "--save", "out").code == 0
    assert gpunb("exec", "--", "sh", "-c", "mkdir out; echo 42 > out/result.txt").code == 0
    ended = gpunb("down", "--yes")
    assert ended.code == 0, ended.err
    assert "saved" in ended.out
    assert Path("out/result.txt").read_text() == "42\n"


def test_sync_dry_run_says_what_and_why(demo: Gpunb) -> None:
    Path("src/.git").mkdir(parents=True)
    Path("src/.git/config").write_text("x")
    Path("src/a.py").write_text("a")
    Path("src/b.log").write_text("b")
    Path("src/.gitignore").write_text("*.log\n")
    shown = demo("sync", "src", ":src", "--dry-run")
    assert shown.code == 0, shown.err
    assert "a.py" in shown.out
    assert "*.log" in shown.out
    assert "nothing was moved" in shown.out
    assert demo("exec", "--", "ls").out == ""
    assert demo("sync", "src", "demo:src").code == 0
    assert demo("exec", "--", "ls", "src").out == "a.py\n"
    assert demo("sync", "src", "nope:src").code == 1


def test_rent_starts_the_supervisor(demo: Gpunb) -> None:
    def seen() -> str:
        rows = demo("doctor", "--offline", "--json").json
        return str(next(row for row in rows if row["what"] == "supervisor")["finding"])

    wait_for("the supervisor", lambda: "detached" in seen())
    assert "WARNING" not in demo("ps").out


def test_doctor(demo: Gpunb) -> None:
    found = {row["what"]: row for row in demo("doctor", "--offline", "--json").json}
    assert found["ledger"]["level"] == "ok"
    assert found["rsync"]["level"] in {"ok", "warn"}
    assert "supervisor" in found


def test_put_and_get_need_a_notebook(demo: Gpunb) -> None:
    for verb in ("put", "get"):
        refused = demo(verb, "x")
        assert refused.code == 2
        assert "gpunb sync" in refused.err
