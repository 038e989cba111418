"""`once --checkpoint` on real local machines: one is taken in the middle, and the run goes on on the next."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from support.story import Terminal, all_over, ended, supervisor, wait_for

from gpunb.cli.context import Context
from gpunb.commands.running import once
from gpunb.errors import Unreachable
from gpunb.services.once import flow
from gpunb.sessions.attempts import chain, checkpoints
from gpunb.sessions.ledger.sessions import Ledger
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

SCRIPT = """
import os, pathlib, time
out = pathlib.Path("state")
out.mkdir(exist_ok=True)
file = out / "step.txt"
step = int(file.read_text()) if file.exists() else 0
print("attempt", os.environ["GPUNB_ATTEMPT"], "from", step, flush=True)
if step == 0:
    (out / "new").write_text("7")
    (out / "new").rename(file)
    time.sleep(1000)
pathlib.Path("result.txt").write_text(f"done from {step}")
"""


@pytest.fixture
def project(tmp_path: Path, rented_from: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "proj"
    folder.mkdir()
    (folder / "gpunb.toml").touch()
    (folder / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GPUNB_CLOUDS", own_hosts.CLOUD)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("client", ["lives", "killed"])
def test_the_second_machine_goes_on_from_the_checkpoint(
    home: Path,
    gpunb: Gpunb,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    client: str,
) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.5)
    line = "gpunb once train.py --checkpoint state --for 1h --budget none --yes"
    with supervisor(), ended(Terminal(project).start(line)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "attempt 1 from 0\n"
        with Ledger.open() as ledger:
            (old,) = ledger.sessions()
            wait_for(lambda: _home(ledger, old.id) == "7", 100)
            if client == "killed":
                running.kill()
                running.communicate()
            own_hosts.provider().destroy(old.instance_id)
            new = wait_for(lambda: ledger.successor(old.id), 100)
            if client == "lives":
                out, err = running.communicate(timeout=250)
                assert running.returncode == 0, err
                assert out == "attempt 2 from 7\n", err
                assert "its run goes on as" in err or "its run went on as" in err
            wait_for(all_over, 250)
            assert (project / "result.txt").read_text() == "done from 7"
            assert (project / "state" / "step.txt").read_text() == "7"
            receipts = {one.session_id: one for one in ledger.receipts()}
    assert [receipts[one].why for one in (old.id, new.id)] == ["vanished", "run"]
    assert new.lease.deadline == old.lease.deadline
    logs = gpunb("logs", old.ends_with)
    assert (logs.code, logs.out) == (0, "attempt 2 from 7\n"), logs.err
    refused = gpunb("logs", old.ends_with, "--rich", "--since", "1m")
    assert (refused.code, refused.out) == (2, "")
    assert "(only its text is kept): --since and --rich would have no effect" in " ".join(refused.err.split())
    assert not any((home / "checkpoints").iterdir()), "the run has succeeded, and its results are home"
    attached = gpunb("attach", new.ends_with)
    assert (attached.code, attached.out) == (0, "attempt 2 from 7\n"), attached.err
    shown = json.loads(gpunb("show", new.id, "--json").out)
    assert (shown["attempt"], shown["follows"]) == (2, old.id)
    # a client whose line was away all the while
    monkeypatch.setattr(flow, "follow", _away)
    started: Any = SimpleNamespace(handle=SimpleNamespace(id=old.ends_with))
    with Context("terminal") as context:
        session, outcome = once._followed(context, old, started)
    assert (session.id, outcome.state, outcome.exit_code) == (new.id, "ok", 0)
    assert capfd.readouterr().out == "attempt 2 from 7\n"
    started.handle.id = new.ends_with
    with Context("terminal") as context:
        session, outcome = once._followed(context, context.ledger.get(new.id), started)
    assert (session.id, outcome.state, outcome.exit_code) == (new.id, "ok", 0)
    shown = capfd.readouterr()
    assert shown.out == "", "some of it may be on the screen already"
    assert f"gpunb logs {new.ends_with}" in shown.err


def _away(*_: object) -> NoReturn:
    msg = "the line broke"
    raise Unreachable(msg)


def _home(ledger: Ledger, session_id: str) -> str:
    found = checkpoints.kept(ledger, ledger.get(session_id))
    file = None if found is None else found / "step.txt"
    return file.read_text() if file is not None and file.exists() else ""


BAD = [
    (["--checkpoint", "../x"], "--checkpoint '../x' leads out of the project"),
    (["--checkpoint", "."], "--checkpoint '.': must be a folder inside of the project"),
    (["--checkpoint", "train.py"], "is a file, and must be a folder"),
    (["--checkpoint", "state", "--keep"], "can't be with --keep"),
    (["--checkpoint", "state", "--secret", "TOKEN"], "must be in the keyring"),
]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_bad_input_costs_nothing(gpunb: Gpunb, project: Path, words: list[str], said: str) -> None:
    ran = gpunb("once", "train.py", *words, "--yes")
    assert ran.code == 2, ran.err
    assert said in ran.err
    with Ledger.open() as ledger:
        assert not ledger.sessions(alive=False)


def test_the_question_says_that_more_than_one_machine_may_be_rented(
    gpunb: Gpunb, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUNB_PROVIDERS__LOCAL__USD_H", "3.6")
    ran = gpunb("once", "train.py", "--checkpoint", "state")
    assert ran.code != 0
    assert f"the next one that fits is rented, up to {chain.MOST} in all" in " ".join(ran.err.split())
