"""A session moved to another machine: real local hosts; every failure leaves one session, and one bill."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.machines.terminal import Ran
from support.rentals.clouds import simulated
from support.rentals.ledgers import ready
from support.rentals.supervisors import end_supervisors

from gpunb.errors import BadInput, Unreachable, WrongState
from gpunb.providers.local import LocalProvider
from gpunb.providers.machine import ports
from gpunb.services import moving, provider_copies
from gpunb.services.moving import content, rented_with, terms
from gpunb.services.workspace import Workspace
from gpunb.sessions import lifecycle
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import fetch_results
from gpunb.sessions.model import Lease, Session, SessionState
from gpunb.sessions.project import places
from gpunb.sessions.supervisor import one_session
from gpunb.sessions.supervisor.sweep import Supervision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Gpunb = Any
S = SessionState
FILL = (
    "import os, threading\nos.makedirs('proj/.git', exist_ok=True)\n"
    "open('proj/.git/HEAD', 'w').write('ref')\nopen('proj/a b.txt', 'w').write('text')\n"
    "open('LICENSE', 'w').write('free')\nx = [1, 2]\nlock = threading.Lock()"
)


@pytest.fixture
def gpunb(capfd: pytest.CaptureFixture[str], home: Path) -> Iterator[Gpunb]:
    """``gpunb("ps", "--json")`` as typed in a terminal without a keyboard."""
    from gpunb.cli.main import run

    def call(*args: str) -> Ran:
        capfd.readouterr()
        code = run(list(args))
        out, err = capfd.readouterr()
        return Ran(code, out, err, args)

    yield call
    from gpunb.sessions.access import host_access

    host_access.close_all()
    end_supervisors(home)


# each host has an environment of its own among its hidden files, with the packages of this one
PYTHON = """#!/bin/sh
own=$HOME/.own/env; site=$own/lib/python{version}/site-packages
mkdir -p "$own/bin" "$site"
printf 'home = {base}\\ninclude-system-site-packages = false\\n' >"$own/pyvenv.cfg"
echo '{packages}' >"$site/these.pth"
ln -sf '{python}' "$own/bin/python"
exec "$own/bin/python" "$@"
"""


def an_own_python(folder: Path) -> Path:
    base = Path(sys.executable).resolve()
    program = folder / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = sysconfig.get_path("purelib")
    program.write_text(PYTHON.format(version=version, base=base.parent, packages=packages, python=base))
    program.chmod(0o755)
    return program


def a_wheel(folder: Path) -> None:
    """A package that no index has."""
    info = "gpunb_moves-1.0.dist-info"
    with zipfile.ZipFile(folder / "gpunb_moves-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("gpunb_moves.py", "here = __file__\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gpunb-moves\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def train(gpunb: Gpunb, tmp_path: Path) -> Session:
    a_wheel(tmp_path)
    rent = ["rent", "--name", "train", "--for", "1h", "--budget", "9", "--save", "proj", "--yes"]
    variables = ["-e", "PIP_NO_INDEX=1", "-e", f"PIP_FIND_LINKS={tmp_path}", "-e", "HF_TOKEN=hf_secret"]
    rented = gpunb(*rent, *variables, "--python", str(an_own_python(tmp_path)))
    assert rented.code == 0, rented.err
    assert gpunb("cell", "-c", FILL).code == 0
    with Ledger.open() as ledger:
        return ledger.find("train")


def sessions() -> list[Session]:
    with Ledger.open() as ledger:
        return ledger.sessions()


def home_of(session: Session, home: Path) -> Path:
    return home / "local" / session.instance_id / "home"


def as_it_was(train: Session, home: Path) -> None:
    (now,) = sessions()
    assert (now.id, now.name, now.state, now.lease) == (train.id, "train", S.READY, train.lease)
    assert (home_of(train, home) / "proj" / "a b.txt").read_text() == "text"
    assert [one.id for one in LocalProvider().instances()] == [train.instance_id]


@pytest.mark.slow
def test_a_bound_folder_stays_bound(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proj = tmp_path / "proj"
    (proj / "data").mkdir(parents=True)
    (proj / "gpunb.toml").touch()
    for number in range(20):
        (proj / "data" / f"{number}.txt").write_text(f"line {number}")
    monkeypatch.chdir(proj)
    assert gpunb("rent", "--name", "train", "--for", "1h", "--here", "--yes").code == 0
    ran = gpunb("cell", "-c", "open('out.txt', 'w').write(open('data/3.txt').read())")
    assert ran.code == 0, ran.err
    assert (proj / "out.txt").read_text() == "line 3"
    (old,) = sessions()
    # as a job that was left alone writes it: nothing has brought it yet
    (home_of(old, home) / "proj" / "late.txt").write_text("late")
    ran = gpunb("move", "train", "--yes")
    assert ran.code == 0, ran.err
    assert (proj / "late.txt").read_text() == "late"
    (now,) = sessions()
    assert now.id != old.id
    (proj / "data" / "4.txt").write_text("edited here")
    with Ledger.open() as ledger:
        assert places.bound(ledger, now) == proj
    cell = (
        "print(open('data/4.txt').read()); open('out.txt', 'a').write('!'); open('more.txt', 'w').write('m')"
    )
    ran = gpunb("cell", "-c", cell)
    assert ran.code == 0, ran.err
    assert "edited here" in ran.out
    assert (proj / "out.txt").read_text() == "line 3!"
    assert (proj / "more.txt").read_text() == "m"
    names = sorted(path.name for path in proj.iterdir() if not path.name.startswith("."))
    assert names == ["data", "gpunb.toml", "late.txt", "more.txt", "out.txt"], "no conflict, nothing twice"
    assert len(list((proj / "data").iterdir())) == 20
    assert gpunb("down", "train", "--yes").code == 0


@pytest.mark.slow
def test_a_move_carries_files_and_variables_and_ends_the_old_machine(
    gpunb: Gpunb, train: Session, home: Path
) -> None:
    assert gpunb("pip", "install", "gpunb-moves==1.0").code == 0
    with Ledger.open() as ledger:
        for folder in ("runs", str(home_of(train, home) / "apart")):
            fetch_results.note_folder(ledger, train, folder)
    ran = gpunb("move", "train", "--yes", "--json")
    assert ran.code == 0, ran.err
    told = ran.json
    # by pip on the new machine, which has the rental's variables, too; but no secret of them
    assert told["packages"] == ["gpunb-moves==1.0"]
    assert "HF_TOKEN" in told["left"]
    assert told["variables"] == ["x"]
    assert "lock" in told["left"]
    assert told["files"] == 3
    assert told["was"]["receipt"]["confirmed"] is not None
    (now,) = sessions()
    assert (now.name, now.state, now.moves_from) == ("train", S.READY, "")
    assert now.id != train.id
    assert [one.id for one in LocalProvider().instances()] == [now.instance_id]
    there = home_of(now, home)
    assert (there / "proj" / ".git" / "HEAD").read_text() == "ref"
    assert (there / "proj" / "a b.txt").read_text() == "text"
    assert (there / "LICENSE").read_text() == "free"
    # the same lease: its end, its idle time, what was left of the budget, the results to save
    assert now.lease.deadline is not None
    assert train.lease.deadline is not None
    assert now.lease.deadline <= train.lease.deadline
    assert now.lease.budget_usd == pytest.approx(9.0, abs=0.5)
    assert (now.lease.idle_s, now.save, now.save_to) == (train.lease.idle_s, ["proj"], train.save_to)
    assert gpunb("cell", "-c", "x.append(3); x").out == "[1, 2, 3]\n"
    installed = gpunb("cell", "-c", "import gpunb_moves; gpunb_moves.here").out
    assert str(there / ".own") in installed
    with Ledger.open() as ledger:
        assert "hf_secret" not in json.dumps([call.summary for call in ledger.intents()])
        places = [event.detail for event in ledger.events(now.id) if event.kind == fetch_results.FOLDER]
        assert places == ["runs", str(there / "apart")], "what is to be saved is looked for there"
        old = ledger.get(train.id)
        assert (old.state, old.name) == (S.GONE, "train-was")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("step", ["_files", "_packages", "_variables", "idle", "switch"])
def test_a_failure_before_the_switch_ends_the_new_machine(
    gpunb: Gpunb, train: Session, home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    errors = [Unreachable("the line broke"), KeyboardInterrupt(), RuntimeError("bug")]
    # the error's kind is tried at the steps that take long
    for error in errors[:1] if step in {"idle", "switch"} else errors:
        with monkeypatch.context() as patch:
            _fail_at(step, error, patch)
            ran = gpunb("move", "train", "--yes")
        assert ran.code != 0
        if not isinstance(error, RuntimeError):
            assert "bill: train goes on as it was" in ran.err
            assert "the new machine is confirmed gone" in ran.err
        as_it_was(train, home)


def _fail_at(step: str, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        assert len(LocalProvider().instances()) == 2, "the new machine is there by now"
        raise error

    def late(*given: Any) -> None:  # it is asked before the rental, too
        if len(LocalProvider().instances()) == 2:
            fails()

    if step == "switch":
        patch.setattr(Ledger, "switch", fails)
    else:
        patch.setattr(content, step, late if step == "idle" else fails)


KILLED = """
import os, sys
from gpunb.services import moving
from gpunb.providers.machine import ports
from gpunb.services import moving
from gpunb.services.moving import content
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.cli.main import main

def after(holder, name):
    real = getattr(holder, name)
    def dies(*args, **more):
        real(*args, **more)
        os._exit(9)
    setattr(holder, name, dies)

where = {"created": (Ledger, "answer_create"), "files": (content, "_files")}
where.update(variables=(content, "_variables"), switched=(Ledger, "switch"))
after(*where[sys.argv[1]])
main(["move", "train", "--yes"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["created", "files", "variables", "switched"])
def test_a_killed_move_is_finished_by_the_supervisor(
    gpunb: Gpunb, train: Session, home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Two machines are billed for one session: the ledger knows, and one of them ends."""
    done = subprocess.run([sys.executable, "-c", KILLED, step], timeout=100, check=False, capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    end_supervisors(home)
    alive = sessions()
    assert len(alive) == 2
    assert len(LocalProvider().instances()) == 2
    new = next(one for one in alive if one.id != train.id)
    assert new.moves_from == ("" if step == "switched" else train.id)
    monkeypatch.setattr(one_session, "MOVE_S", 0.0)
    with Ledger.open() as ledger:
        watch = Supervision(ledger, lambda _: LocalProvider())
        for _ in range(40):
            watch.tick()
            if len(ledger.sessions()) == 1:
                break
            time.sleep(0.25)
    if step != "switched":
        as_it_was(train, home)
        return
    (now,) = sessions()
    assert (now.id, now.name, now.state) == (new.id, "train", S.READY)
    assert [one.id for one in LocalProvider().instances()] == [now.instance_id]
    assert (home_of(now, home) / "LICENSE").read_text() == "free"


@pytest.mark.slow
def test_what_runs_is_not_lost(gpunb: Gpunb, train: Session, home: Path) -> None:
    run = gpunb("cell", "-d", "--json", "-c", "import time; time.sleep(60)").json["run"]
    ran = gpunb("move", "train", "--yes")
    assert ran.code == 1
    assert f"cell {run}" in ran.err
    assert "still runs on train" in ran.err
    as_it_was(train, home)


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger.open() as opened:
        opened.lead("detached", 3600.0)
        yield opened


def test_the_switch_is_all_or_nothing(ledger: Ledger) -> None:
    old = ready(ledger, name="train")
    ready(ledger, name="train-was")
    new = ready(ledger, moves_from=old.id)
    lease = Lease(deadline=5.0, idle_s=60.0, budget_usd=2.0, budget_set=True)
    with pytest.raises(WrongState, match="can't take"):
        ledger.switch(new, old, lease)
    with pytest.raises(WrongState):
        ledger.switch(ledger.transition(ready(ledger), S.ENDING), new, lease)
    now = ledger.switch(old, new, lease)
    assert (now.name, now.lease, now.moves_from, now.state) == ("train", lease, "", S.READY)
    was = ledger.get(old.id)
    assert (was.name, was.state) == ("train-was1", S.ENDING)
    with pytest.raises(WrongState):
        ledger.switch(old, now, lease)


@pytest.mark.parametrize(
    ("lease", "changed", "error"),
    [
        (Lease(deadline=None), {"ends_with": "k3v9"}, WrongState),
        (Lease(deadline=0.0), {}, BadInput),
    ],
)
def test_what_cant_move_rents_nothing(
    ledger: Ledger, gpunb: Gpunb, lease: Lease, changed: dict[str, Any], error: type[Exception]
) -> None:
    session = ready(ledger, name="train")
    ledger.update(session.id, lease=lease, **changed)
    ran = gpunb("move", "train", "--yes", "--json")
    assert ran.json["error"]["type"] == error.__name__
    assert ran.json["error"]["bill"].startswith("nothing was rented")
    stopped = gpunb("move", "train", "--for", "2h")
    assert stopped.code == 2
    assert "--for would have no effect" in stopped.err
    ledger.update(session.id, lease=Lease(), ends_with="")
    ledger.transition(ledger.get(session.id), S.STOPPED)
    ran = gpunb("move", "train", "--yes")
    assert "copies no files from such a machine" in ran.err
    assert "bill: nothing was rented; train costs" in ran.err
    assert "next: gpunb start train, then gpunb move train" in ran.err


def test_its_open_ports_are_asked_of_the_new_machine(ledger: Ledger) -> None:
    session = ready(ledger, name="train")
    had = rented_with.read(ledger, session)
    assert not terms.wish(ledger, session, moving.Target(), had, None).inside["ports"]
    ledger.update(session.id, ports={"8000/tcp": "203.0.113.7:40512", "53/udp": "203.0.113.7:40513"})
    wish = terms.wish(ledger, ledger.get(session.id), moving.Target(), had, None)
    assert wish.inside["ports"] == ("8000/tcp", "53/udp") == tuple(ports.wanted(wish.inside["ports"]))


def test_a_cloud_that_cant_open_its_ports_or_mount_its_volumes_rents_nothing(gpunb: Gpunb) -> None:
    move = ["move", "train", "--cloud", "lambda", "--yes", "--json"]
    rented = {"volumes": ["17"], "mounts": {"17": "/data"}, "further": ["onstart"]}
    with simulated(["lambda"], real=False) as simulation, Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)
        session = ready(ledger, name="train", summary=rented)
        ledger.update(session.id, ports={"8000/tcp": "203.0.113.7:40512"})
        refused = gpunb(*move).json["error"]
        assert refused["message"] == "move: train has volumes that only local can mount: 17 at /data"
        assert refused["bill"] == "nothing was rented"
        assert "move train --no-volumes" in refused["next"]
        refused = gpunb(*move, "--no-volumes").json["error"]
        assert "opens no further ports" in refused["message"]
        assert refused["bill"] == "nothing was rented"
        assert not simulation["lambda"].machines
        had = rented_with.read(ledger, session)
        wish = terms.wish(ledger, session, moving.Target(), had, None)
    assert wish.volumes == ["17:/data"]
    assert "it gets the volumes 17" in wish.before
    assert "it lacks variables of the machine: this rental's are not recorded" in wish.before
    left = had.left(moving.Target(volumes=False, env={"A": "1"}))
    assert {*left} == {"17", "--onstart"}
    assert had.places == ["/data"], "what is on it is not copied"


def test_values_that_look_like_secrets_are_not_recorded() -> None:
    env = {
        "STAGE": "a",
        "HF_TOKEN": "b",
        "AWS_SECRET_ACCESS_KEY": "c",
        "DB": "pg://u:p@h/x",
        "U": "http://h/x",
    }
    recorded = lifecycle.RentRequest(env=env, onstart="date").recorded()
    assert recorded["env"] == {
        "STAGE": "a",
        "HF_TOKEN": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "DB": None,
        "U": "http://h/x",
    }
    assert recorded["further"] == ["onstart"]


def test_packages_that_the_new_machine_lacks() -> None:
    here = [
        "# a comment",
        "torch==2.5.1",
        "einops==0.8.0",
        "My_Pkg==1",
        "-e /root/proj",
        "x @ git+https://t@h/x",
    ]
    there = ["torch==2.4.0", "my-pkg==1"]
    strange = ["/root/proj", "x"]
    assert content.lacking(here, there, same=False) == (["einops==0.8.0"], strange)
    assert content.lacking(here, there, same=True) == (["torch==2.5.1", "einops==0.8.0"], strange)
    assert content.lacking(here, here, same=True) == ([], [])


def test_the_supervisor_leaves_a_move_in_hand_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    old = ready(ledger, name="train")
    new = ready(ledger, moves_from=old.id)
    watch: Callable[[Session], bool] = Supervision(ledger, lambda _: LocalProvider())._left_half_way
    assert not watch(new), "it has just been rented"
    monkeypatch.setattr(one_session, "MOVE_S", 0.0)
    assert watch(new)
    ledger.claim(new.id, 60.0)
    assert not watch(new)


@pytest.mark.slow
def test_a_stopped_session_moves_by_its_clouds_own_copy(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is the cloud's: nothing is started on the old machine, and the name switches last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provider_copies, "POLL_S", 0.5)
    make = "mkdir -p proj/deep 'a b' && echo best >proj/deep/a.txt && echo x >'a b/c' && echo 1 >one"
    with simulated(["vast"], speed=60.0) as simulation:
        vast = simulation["vast"]
        rent = ["rent", "--cloud", "vast", "--name", "train", "--for", "3h", "--save", "proj", "--spot"]
        ran = gpunb(*rent, "-e", "STAGE=first", "-e", "HF_TOKEN=hf_x", "--yes")
        assert ran.code == 0, ran.err
        assert gpunb("exec", "train", "--", "sh", "-c", make).code == 0
        (old,) = vast.machines.values()
        vast.afflict("outbid", old.id)
        with Workspace() as context:
            known = context.ledger.find("train")
            was = lifecycle.refresh(context.ledger, context.provider("vast"), known)
        assert (was.state, was.cloud_state) == (S.STOPPED, "interrupted")
        elsewhere = gpunb("move", "train", "--cloud", "local", "--yes")
        assert "train is interrupted, and Vast.ai copies its files only to its own machines" in elsewhere.err
        assert "gpunb start train when its cloud has a machine for it again" in elsewhere.err
        assert gpunb("move", "train", "--path", "/nowhere", "--yes").code == 2
        assert len(vast.machines) == 1, "nothing was rented for either"

        copy = vast.hosts.copy
        with monkeypatch.context() as patch:  # a copy that says that it is whole, and is not
            patch.setattr(vast.hosts, "copy", lambda *ends: None if "a b" in ends[1] else copy(*ends))
            ran = gpunb("move", "train", "--yes")
        assert ran.code == 1
        assert "1 of the 3 files of train are not on the new machine as they are on its disk" in ran.err
        assert "the new machine is confirmed gone" in ran.err
        with Ledger.open() as ledger:
            assert [(s.id, s.name, s.state) for s in ledger.sessions()] == [(was.id, "train", S.STOPPED)]

        ran = gpunb("move", "train", "--yes", "--json")
        assert ran.code == 0, ran.err
        moved = ran.json
        assert (moved["files"], moved["paths"]) == (3, ["/root/a b", "/root/one", "/root/proj"])
        assert {*moved["left"]} == {"packages", "HF_TOKEN"}
        assert moved["was"]["receipt"]["confirmed"] is not None
        shown = gpunb("exec", "train", "--", "sh", "-c", "cat proj/deep/a.txt 'a b/c' one")
        assert shown.out.split() == ["best", "x", "1"]
        (now,) = sessions()
        assert vast.machines[now.instance_id].data["env"]["STAGE"] == "first"
        assert (now.name, now.state, now.save) == ("train", S.READY, ["proj"])
        assert [m.id for m in vast.machines.values() if m.phase.name != "ENDED"] == [now.instance_id]
        assert gpunb("down", "--all", "--yes", "--no-save").code == 0
