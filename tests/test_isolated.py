"""Our own programs import nothing that lies in the working folder."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import gpunb
from gpunb import isolated

SOURCES = Path(gpunb.__file__).parent
OTHERS = ["pip", "gpunb", "click", "rich", "pydantic", "paramiko", "psutil", "httpx", "ipykernel", "tornado"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of each name that could be imported; each says that it was."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in (*sys.stdlib_module_names, *OTHERS, "sitecustomize", "usercustomize"):
        said = f"open({str(folder / 'RAN')!r}, 'a').write({name!r} + '\\n')\nraise SystemExit(9)\n"
        (folder / f"{name}.py").write_text(said)
    return folder


def ran(folder: Path) -> str:
    try:
        return (folder / "RAN").read_text()
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("python_path", [None, "", ":", ".", ".:relative"])
@pytest.mark.parametrize("module", ["gpunb", "pip"])
def test_the_working_folder_is_not_imported_from(hostile: Path, python_path: str | None, module: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {} if python_path is None else {"PYTHONPATH": python_path}
    done = subprocess.run(
        isolated.argv(module, "--version"), cwd=hostile, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "version" in done.stdout or "pip" in done.stdout
    assert not ran(hostile)


def test_the_working_folder_named_by_its_whole_path_is_not_imported_from_either(hostile: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(hostile)}
    done = subprocess.run(
        isolated.argv("gpunb", "--version"), cwd=hostile, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not ran(hostile)


def test_packages_that_only_pythonpath_or_the_user_s_folder_has_are_found(tmp_path: Path) -> None:
    """Cluster modules and ``pip install --user`` go on working, behind the standard library."""
    paths = tmp_path / "modules"
    paths.mkdir()
    (paths / "only_there.py").write_text("import json, sys\nprint(json.__file__)\nprint(sys.argv[1:])\n")
    (paths / "json.py").write_text("raise SystemExit('not the standard library')\n")
    env = {**os.environ, "PYTHONPATH": str(paths)}
    argv = isolated.argv("only_there", "a", "b c")
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "['a', 'b c']"
    # the user's own site folder, with an editable install in it
    base = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys._base_executable)"], capture_output=True, text=True
    ).stdout.strip()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "home" / ".local" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "editable.pth").write_text(str(paths))
    user = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    argv = isolated.argv("only_there", python=base)
    done = subprocess.run(argv, cwd=tmp_path, env=user, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_closed_environment_stays_closed(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "home" / ".local" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "only_there.py").write_text("")
    env = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    argv = isolated.argv("only_there", python=str(tmp_path / "env" / "bin" / "python"))
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert "No module named only_there" in done.stderr


def _words(node: ast.List | ast.Tuple) -> list[str | None]:
    out: list[str | None] = []
    for one in node.elts:
        text = ast.unparse(one)
        out.append(one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else text)
    return out


def test_every_python_that_we_start_is_started_isolated() -> None:
    """Whoever adds a program finds `gpunb.isolated` here."""
    wrong, seen = [], 0
    for path in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.List, ast.Tuple)):
                words = _words(node)
                pythons = [at for at, word in enumerate(words) if word in {"sys.executable", "python"}]
                if not pythons or ("-c" not in words and "-m" not in words):
                    continue
                seen += 1
                # on a host: what is asked of the user's own Python there, or run for the user
                own = path.parent.name == "commands" and path.name in {"run.py", "requirements.py"}
                probe = words[pythons[0] + 1 :] == ["-c", "import ipykernel"]
                if "-I" not in words and not own and not probe:
                    wrong.append(f"{path.relative_to(SOURCES)}:{node.lineno}: {words}")
            if isinstance(node, ast.JoinedStr) and "sys.executable" in ast.unparse(node):
                text = ast.unparse(node)
                if text.startswith(("f'#!", 'f"#!')):
                    seen += 1
                    if "} -I" not in text:
                        wrong.append(f"{path.relative_to(SOURCES)}:{node.lineno}: {text[:80]}")
    assert seen >= 4, "the search itself is wrong"
    assert not wrong


@pytest.mark.slow
def test_a_whole_rental_runs_nothing_of_a_hostile_working_folder(hostile: Path, tmp_path: Path) -> None:
    """Supervisor, local host, agent, kernelspec, pip and the simulated clouds, each really started."""
    env = {**os.environ, "GPUNB_HOME": str(tmp_path / "home"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    env["PYTHONPATH"] = ":."
    program = Path(sys.executable).with_name("gpunb")

    def verb(*words: str) -> subprocess.CompletedProcess[str]:
        # the program's own first process is the user's to start; -I here, for PYTHONPATH is hostile
        argv = [sys.executable, "-I", str(program), *words]
        return subprocess.run(argv, cwd=hostile, env=env, capture_output=True, text=True, timeout=120)

    try:
        rented = verb("rent", "--cloud", "local", "--name", "x", "--for", "1h", "--yes")
        assert rented.returncode == 0, rented.stderr
        (spec,) = (tmp_path / "jupyter" / "kernels").glob("*/kernel.json")
        argv = json.loads(spec.read_text())["argv"]
        shown = subprocess.run(
            [*argv[:4], "--help"], cwd=hostile, env=env, capture_output=True, text=True, timeout=60
        )
        assert "--session" in shown.stdout, shown.stderr
        # the user's files in the host's home folder do not break the agent
        home = verb("exec", "-s", "x", "--", "sh", "-c", "echo $HOME").stdout.strip()
        for name in ("json", "struct", "subprocess", "asyncio"):
            (Path(home) / f"{name}.py").write_text("raise SystemExit('of the home folder')\n")
        ran_there = verb("run", "-s", "x", "--shell", "echo fine")
        assert "fine" in ran_there.stdout, ran_there.stderr
        assert verb("sim", "up").returncode == 0
        assert verb("sim", "down").returncode == 0
    finally:
        verb("down", "--all", "--yes")
    assert not ran(hostile)
