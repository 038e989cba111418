"""``sync`` from a stopped session: Vast copies from host to host, and nothing is started for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.rentals.clouds import simulated
from support.rentals.vast_client import VastClient, client_python

from gpunb import paths
from gpunb.providers.local import running
from gpunb.services import provider_copies
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sync import rsync

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_from_a_stopped_session_to_one_that_runs(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provider_copies, "POLL_S", 0.5)
    with simulated(["vast"], speed=60.0) as simulation:
        for name in ("one", "two"):
            ran = gpunb("rent", "--cloud", "vast", "--name", name, "--for", "3h", "--yes")
            assert ran.code == 0, ran.err
        make = (
            "mkdir -p out/deep && echo best >out/deep/a.txt && echo .log >out/.gitignore && echo x >out/b.log"
        )
        assert gpunb("exec", "one", "--", "sh", "-c", make).code == 0
        assert gpunb("stop", "one", "--yes").code == 0
        shown = gpunb("sync", "one:out", "two:in", "-n")
        assert "would copy one:/root/out/ to two:/root/in/" in shown.out
        assert "knows no --delete" in gpunb("sync", "one:out", "two:in", "--delete").err
        assert "finds nothing at /root/nowhere" in gpunb("sync", "one:nowhere", "two:in").err
        assert "must not be / or /root" in gpunb("sync", "one:out", "two:/root").err
        ran = gpunb("sync", "one:out", "two:in")
        assert ran.code == 0, ran.err
        assert "copied one:/root/out/ to two:/root/in/, by Vast.ai itself" in ran.out
        there = gpunb("exec", "two", "--", "sh", "-c", "cd in && cat deep/a.txt b.log")
        assert there.out.split() == ["best", "x"]
        one_file = gpunb("sync", "one:out/b.log", "two:kept/b.log")
        assert one_file.code == 0, one_file.err
        assert gpunb("exec", "two", "--", "cat", "kept/b.log").out.strip() == "x"
        assert {m.phase.name for m in simulation["vast"].machines.values()} == {"STOPPED", "RUNNING"}
        assert gpunb("down", "--all", "--yes", "--no-save").code == 0


def test_from_a_stopped_session_to_this_machine(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with simulated(["vast"], speed=60.0) as simulation:
        ran = gpunb("rent", "--cloud", "vast", "--name", "one", "--for", "3h", "--yes")
        assert ran.code == 0, ran.err
        make = (
            "mkdir -p out/deep && echo best >out/deep/a.txt && echo 'a b' >'out/with space'"
            " && echo x >out/x.sh && chmod 750 out/x.sh && ln -s deep/a.txt out/inside"
            " && ln -s /etc/passwd out/outside && echo evil >out/.envrc && mkfifo out/pipe"
        )
        assert gpunb("exec", "one", "--", "sh", "-c", make).code == 0
        assert gpunb("stop", "one", "--yes").code == 0
        shown = gpunb("sync", "one:out", "back", "-n")
        assert shown.code == 0, shown.err
        assert "would copy one:/root/out to" in shown.out
        assert not Path("back").exists()
        for refused, said in {
            ("one:nowhere", "back"): "is not found on the host",
            ("one:out", "back", "--delete"): "knows no --delete",
            ("one:out", "one:x", "back"): "from a stopped session one SRC goes at a time",
            ("one:/", "back"): "the whole of a host is not fetched",
        }.items():
            ran = gpunb("sync", *refused)
            assert ran.code != 0
            assert said in ran.err
        Path("back").mkdir()
        Path("back/deep").symlink_to(tmp_path)  # no link here is written through
        Path("back/mine").write_text("mine")
        ran = gpunb("sync", "one:out", "back")
        assert ran.code == 1, ran.out + ran.err
        assert not (tmp_path / "a.txt").exists()
        Path("back/deep").unlink()
        ran = gpunb("sync", "one:out", "back")
        assert ran.code == 0, ran.out + ran.err
        assert Path("back/deep/a.txt").read_text() == "best\n"
        assert Path("back/with space").read_text() == "a b\n"
        assert Path("back/x.sh").stat().st_mode & 0o777 == 0o750
        assert os.readlink("back/inside") == "deep/a.txt"
        assert Path("back/mine").read_text() == "mine"
        assert sorted(os.listdir("back")) == ["deep", "inside", "mine", "with space", "x.sh"]
        assert ".envrc" in ran.out, "what a shell would run is held back and named"
        again = gpunb("sync", "one:out", "back", "--json").json
        assert again["sent_bytes"] == 0, "what is there already is not sent again"
        single = gpunb("sync", "one:out/with space", "named.txt")
        assert single.code == 0, single.err
        assert Path("named.txt").read_text() == "a b\n"
        assert {m.phase.name for m in simulation["vast"].machines.values()} == {"STOPPED"}
        with monkeypatch.context() as old:
            old.setattr(rsync, "local_version", lambda: (3, 2, 7))
            ran = gpunb("sync", "one:out", "else")
            assert ran.code == 1
            assert "only rsync 3.4 or newer may fetch from a stranger's computer" in ran.err
            assert "gpunb start one" in ran.err
        machine = next(iter(simulation["vast"].machines.values()))
        assert machine.host is not None
        keys = simulation["vast"].hosts.root / f"{machine.host.handle}.computer" / "authorized_keys"  # type: ignore[attr-defined]
        daemon = keys.parent / "bin" / "rsync"
        honest = daemon.read_text()
        simulation["vast"].hosts.serve_files = lambda *_: _address(keys.parent)  # type: ignore[method-assign]
        daemon.write_text("#!/bin/sh\necho nonsense; head -c 100000 /dev/zero\n")
        ran = gpunb("sync", "one:out", "junk")
        assert ran.code == 1
        assert "not moved: /root/out: rsync: " in ran.out
        assert list(Path("junk").iterdir()) == []
        daemon.write_text(honest)
        keys.write_text("")
        ran = gpunb("sync", "one:out", "else")
        assert ran.code == 1
        assert "Vast.ai's copy accepts no login" in ran.err
        assert "gpunb sync one:PATH OTHER:PATH" in ran.err
        assert not Path("else").exists()
        assert gpunb("down", "--all", "--yes", "--no-save").code == 0


def test_what_is_to_be_saved_comes_from_the_disk_at_the_end(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with simulated(["vast"], speed=60.0) as simulation:
        named = ("--cloud", "vast", "--name", "one", "--for", "3h", "--save", "out", "--save", "log.txt")
        ran = gpunb("rent", *named, "--yes")
        assert ran.code == 0, ran.err
        make = (
            "mkdir -p out/deep && echo best >out/deep/a.txt && echo theirs >out/mine && echo evil >out/.envrc"
            " && ln -s /etc/passwd out/outside && ln -s deep/a.txt out/inside && echo line >log.txt"
        )
        assert gpunb("exec", "one", "--", "sh", "-c", make).code == 0
        assert gpunb("stop", "one", "--yes").code == 0
        Path("out").mkdir()
        Path("out/mine").write_text("mine")
        ran = gpunb("down", "one", "--yes")
        assert ran.code == 1, ran.out
        assert "outside: it is a link that leads out" in ran.err
        assert "nothing was ended" in ran.err
        assert gpunb("exec", "one", "--", "rm", "/root/out/outside").code == 0
        ran = gpunb("down", "one", "--yes", "--json")
        assert ran.code == 0, ran.err
        assert Path("out/deep/a.txt").read_text() == "best\n"
        assert os.readlink("out/inside") == "deep/a.txt"
        assert (Path("out/mine").read_text(), Path("out/mine.one").read_text()) == ("mine", "theirs\n")
        assert Path("out/.envrc.held").read_text() == "evil\n"
        assert Path("log.txt").read_text() == "line\n"
        assert sorted(os.listdir("out")) == [".envrc.held", "deep", "inside", "mine", "mine.one"]
        with Ledger.open() as ledger:
            (session,) = ledger.sessions(alive=False)
            receipt = ledger.receipt(session.id)
            assert receipt is not None
            assert (sorted(receipt.saved), receipt.unsaved) == (["log.txt", "out"], [])
            assert [one.new for one in ledger.events(session.id) if one.new].count("ready") == 1, "no start"
        assert not [one for one in simulation["vast"].machines.values() if one.alive]


def _address(folder: Path) -> tuple[str, int]:
    alive = running(folder)
    assert alive is not None
    return alive.address, alive.port


def test_the_published_client_copies_from_it_too(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own rsync, unchanged, against the daemon of the simulated host's computer."""
    python = client_python()
    if python is None:
        pytest.skip("the published client vastai is not installed (VASTAI_PYTHON)")
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    own = f"{shutil.which('ssh')} -F none -o UserKnownHostsFile={tmp_path}/known"  # not the user's ~/.ssh
    for name, line in {
        "rsync": f'{shutil.which("rsync")} "$@" >/dev/null 2>{tmp_path}/said',  # its stdout is the driver's
        "ssh": f'{own} "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\nexec {line}\n")
        (programs / name).chmod(0o755)
    with simulated(["vast"], speed=60.0) as simulation:
        assert gpunb("rent", "--cloud", "vast", "--name", "one", "--for", "3h", "--yes").code == 0
        assert gpunb("exec", "one", "--", "sh", "-c", "mkdir out && echo best >out/a.txt").code == 0
        assert gpunb("stop", "one", "--yes").code == 0
        with Ledger.open() as ledger:
            session = ledger.find("one")
        key = paths.session_dir(session.id) / "id_ed25519"
        vast = simulation.description()["vast"]
        env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "VAST_API_KEY": vast["key"],
            "VASTAI_NO_UPDATE_CHECK": "1",
        }
        client = VastClient(python, env, vast["base_url"])
        answer = client(
            "copy", f"C.{session.instance_id}:/root/out/", f"local:{tmp_path}/got", "-i", str(key)
        )
        client.close()
        assert answer.code == 0, answer
        assert (tmp_path / "got/a.txt").read_text() == "best\n", (answer, (tmp_path / "said").read_text())
        assert gpunb("down", "--all", "--yes", "--no-save").code == 0
