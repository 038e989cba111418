"""`once`: exit codes, what comes back, and bad input that costs nothing; real local machines."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from support.story import BIN, Terminal, all_over, supervisor, wait_for

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import run_end
from gpunb.sync.planning import locations
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb


@pytest.fixture
def project(tmp_path: Path, rented_from: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the working folder."""
    folder = tmp_path / "proj"
    folder.mkdir()
    (folder / "gpunb.toml").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GPUNB_CLOUDS", own_hosts.CLOUD)
    return folder


@pytest.fixture
def watched(home: Path, rented_from: None) -> Iterator[None]:
    """A supervisor, as a Jupyter server has one."""
    del home, rented_from
    with supervisor():
        yield


def script(project: Path, text: str, name: str = "train.py") -> Path:
    path = project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def nothing_was_rented() -> bool:
    with Ledger.open() as ledger:
        return not ledger.sessions(alive=False) and not own_hosts.instances()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("sys.exit(130)", 130),
        ("os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
    ],
)
def test_exit_code_and_output_are_the_scripts(
    gpunb: Gpunb, watched: None, project: Path, ends: str, code: int
) -> None:
    script(project, f"import os, signal, sys\nprint('mine')\nopen('out.txt', 'w').write('x')\n{ends}\n")
    ran = gpunb("once", "train.py", "--for", "10m", "--yes")
    assert (ran.code, ran.out) == (code, "mine\n"), ran.err
    assert (project / "out.txt").read_text() == "x", "what it wrote comes back, however it ended"
    assert all_over()


@pytest.mark.slow
def test_the_run_is_in_the_same_place_of_the_project(gpunb: Gpunb, watched: None, project: Path) -> None:
    script(project, "KNOWN = 7", "lib/known.py")
    script(project, "open('a.txt', 'w').write(open('in.txt').read() * 2)\nopen('/tmp/x', 'a')", "sub/job.py")
    (project / "sub" / "in.txt").write_text("ab")
    os.chdir(project / "sub")
    ran = gpunb("once", "job.py", "--save", "a.txt", "--save", "never", "--for", "10m", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert (project / "sub" / "a.txt").read_text() == "abab"
    told = json.loads(ran.out)
    assert (told["state"], told["exit_code"]) == ("ok", 0)
    assert "not brought back: sub/never" in ran.err
    assert all_over(), "what was never there is no reason to keep the machine"


@pytest.mark.slow
def test_a_module_a_command_and_a_notebook(gpunb: Gpunb, watched: None, project: Path) -> None:
    script(project, "import sys; print('module', sys.argv[1:])", "tool.py")
    ran = gpunb("once", "-m", "tool", "--for", "10m", "--yes", "--", "--deep")
    assert (ran.code, ran.out) == (0, "module ['--deep']\n"), ran.err
    ran = gpunb("once", "--for", "10m", "--yes", "--", "sh", "-c", "echo $0 'two words'; exit 4", "zero")
    assert (ran.code, ran.out) == (4, "zero two words\n"), ran.err
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell("year = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("year + 1"),
    ]
    nbformat.write(book, project / "report.ipynb")
    ran = gpunb("once", "report.ipynb", "-p", "year", "2026", "--for", "10m", "--yes")
    assert ran.code == 0, ran.err
    done = nbformat.read(project / "report.out.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].data["text/plain"] == "2027"
    assert all_over()


@pytest.mark.slow
def test_as_a_shebang(watched: None, project: Path) -> None:
    path = script(
        project,
        "#!/usr/bin/env -S gpunb once --for 10m --yes\n# /// script\n# dependencies = []\n# ///\n"
        "import sys\nprint(sys.argv[1:])\n",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    user = Terminal(project)
    ran = user.type("./train.py --epochs 3 --for ever")
    assert (ran.code, ran.out) == (0, "['--epochs', '3', '--for', 'ever']\n"), ran.err
    assert all_over()


@pytest.mark.slow
def test_without_a_terminal_ctrl_c_ends_it_with_its_results(watched: None, project: Path) -> None:
    script(
        project,
        "import time\nopen('part.txt', 'w').write('half')\nprint('begun', flush=True)\ntime.sleep(100)\n",
    )
    client = Terminal(project).start("gpunb once train.py --for 10m --yes")
    assert client.stdout is not None
    assert client.stdout.readline() == "begun\n"
    client.send_signal(signal.SIGINT)
    out, err = client.communicate(timeout=60)
    assert (client.returncode, out) == (130, ""), err
    assert (project / "part.txt").read_text() == "half"
    assert all_over()


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["end", "leave"])
def test_at_a_terminal_ctrl_c_asks(watched: None, project: Path, answer: str) -> None:
    import pty

    script(
        project,
        "import time\nopen('part.txt', 'w').write('half')\nprint('begun', flush=True)\n"
        "for _ in range(60): time.sleep(0.1)\n",
    )
    pid, screen = pty.fork()
    if pid == 0:
        os.execve(f"{BIN}/gpunb", ["gpunb", "once", "train.py", "--for", "10m", "--yes"], dict(os.environ))
    seen = _until(screen, b"begun")
    os.write(screen, b"\x03")
    seen = _until(screen, b"leave it running?")
    os.write(screen, answer.encode() + b"\n")
    seen = _until(screen, b"confirmed gone" if answer == "end" else b"goes on with run")
    _, status = os.waitpid(pid, 0)
    os.close(screen)
    assert os.waitstatus_to_exitcode(status) == 130, seen
    wait_for(all_over)
    assert (project / "part.txt").read_text() == "half"


def _until(screen: int, word: bytes) -> bytes:
    seen = b""
    while word not in seen:
        try:
            piece = os.read(screen, 4096)
        except OSError:
            piece = b""
        assert piece, f"{word!r} was not shown: {seen!r}"
        seen += piece
    return seen


@pytest.mark.slow
def test_with_the_disk_full_here_at_the_end_nothing_is_ended_and_the_supervisor_tries_again(
    gpunb: Gpunb, watched: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(project, "open('out.bin', 'wb').write(b'x' * 100_000)")
    monkeypatch.setattr(run_end, "AGAIN_S", 1.0)
    with monkeypatch.context() as full:
        full.setattr(locations, "free_here", lambda _: 10)
        ran = gpunb("once", "train.py", "--for", "10m", "--yes")
        assert ran.code == 1
        assert "not brought back: .: out.bin: this machine" in ran.err
        assert "nothing was ended: local-1 goes on" in ran.err
        assert not all_over()
    wait_for(all_over)
    assert (project / "out.bin").stat().st_size == 100_000


@pytest.mark.slow
def test_kept_it_goes_on_as_any_session(gpunb: Gpunb, watched: None, project: Path) -> None:
    script(project, "open('out.txt', 'w').write('x')")
    ran = gpunb("once", "train.py", "--for", "10m", "--yes", "--keep", "--name", "mine")
    assert ran.code == 0, ran.err
    assert (project / "out.txt").read_text() == "x"
    assert "mine goes on" in ran.err
    with Ledger.open() as ledger:
        (session,) = ledger.sessions()
    assert (session.name, session.ends_with) == ("mine", "")
    assert session.lease.idle_s is not None
    assert gpunb("down", "--yes").code == 0


@pytest.mark.slow
def test_packages_that_can_t_be_installed_leave_no_machine(
    gpunb: Gpunb, watched: None, project: Path
) -> None:
    needs = "# /// script\n# dependencies = ['no-such-package-of-gpunb @ file:///nowhere/x.whl']\n# ///\n"
    script(project, f"{needs}print('never')")
    ran = gpunb("once", "train.py", "--for", "10m", "--yes")
    assert ran.code != 0
    assert ran.out == ""
    assert "could not be installed" in ran.err
    assert "confirmed: nothing is rented" in ran.err
    assert all_over()


@pytest.mark.slow
def test_a_host_whose_python_does_not_fit_is_ended_before_anything_is_sent(
    gpunb: Gpunb, watched: None, project: Path
) -> None:
    script(project, "# /// script\n# requires-python = '<3'\n# ///\nprint('never')")
    ran = gpunb("once", "train.py", "--for", "10m", "--yes")
    assert ran.code != 0
    assert ran.out == ""
    assert "train.py requires Python <3, and the host's" in ran.err
    assert "confirmed: nothing is rented" in ran.err
    assert "--python PATH" in ran.err
    assert all_over()
    script(project, "# /// script\n# requires-python = '>=3.8'\n# ///\nprint('fits')")
    ran = gpunb("once", "train.py", "--for", "10m", "--yes")
    assert (ran.code, ran.out) == (0, "fits\n"), ran.err


BAD = [
    (["once", "trian.py"], "did you mean train.py or twice.py?"),
    (["once", "sub"], "is a folder, not a script"),
    (["once"], "needs a script, a notebook, -m MODULE"),
    (["once", "../elsewhere.py"], "is outside of the project"),
    (["once", "train.py", "--spto"], "there is no option --spto"),
    (["once", "train.py", "--save", "../out"], "leads out of the project"),
    (["once", "train.py", "--requirements", "none.txt"], "can't be read"),
    (["once", "twice.py"], "has 2 blocks"),
    (["once", "odd.py"], "requires-python '3.12' in its block '# /// script' must be a version specifier"),
    (["once", "none.py"], "requires-python '>=3.12,<3.10' in its block '# /// script' contradicts itself"),
    (["once", "train.py", "--gpu", "H100"], "no offer fits"),
    (["once", "train.py", "-p", "year", "1"], "is for notebooks"),
    (["once", "train.py", "--for", "soon"], "--for"),
    (["once", "train.py", "--budget", "-1"], "--budget"),
]


@pytest.mark.parametrize(
    ("line", "said"), BAD, ids=lambda one: " ".join(one) if isinstance(one, list) else ""
)
def test_bad_input_costs_nothing(gpunb: Gpunb, project: Path, line: list[str], said: str) -> None:
    script(project, "print(1)")
    block = "# /// script\n# dependencies = []\n# ///\n"
    script(project, block + "\n" + block, "twice.py")
    script(project, block.replace("dependencies = []", "requires-python = '3.12'"), "odd.py")
    script(project, block.replace("dependencies = []", "requires-python = '>=3.12,<3.10'"), "none.py")
    script(project.parent, "print(1)", "elsewhere.py")
    (project / "sub").mkdir()
    ran = gpunb(*line, "--yes")
    assert ran.code == 2, ran.err
    assert said in ran.err
    assert "nothing was rented" in ran.err
    assert nothing_was_rented()


def test_a_folder_of_everything_is_no_project(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del home
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # of someone's dotfiles
    script(tmp_path, "print(1)")
    ran = gpunb("once", "train.py", "--yes")
    assert ran.code == 2
    assert "never taken as a project" in ran.err
    assert nothing_was_rented()


def test_the_help_has_an_example(gpunb: Gpunb) -> None:
    ran = gpunb("once", "-h")
    assert "gpunb once train.py --gpu L4 --for 2h --budget 3 --save out -- --epochs 3" in ran.out
