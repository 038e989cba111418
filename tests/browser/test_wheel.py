"""The wheel alone, in an environment that has no Node: both extensions are there and load."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.browser.rig import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("lab")]


def ran(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    """A program, to its end; both outputs in one."""
    return subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        **more,  # type: ignore[call-overload]
    )


def either(*ways: list[str | Path]) -> None:
    """The first of these that works: uv is quick, pip knows a company's mirror."""
    said = []
    for way in ways:
        if shutil.which(str(way[0])) is None:
            continue
        done = ran(*way, cwd=ROOT)
        if done.returncode == 0:
            return
        said.append(done.stdout)
    raise AssertionError("\n".join(said))


@pytest.fixture(scope="module")
def wheel(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    uv = Path(sys.prefix) / "bin" / "uv"
    either(
        [uv if uv.exists() else "uv", "build", "-q", "--wheel", "--out-dir", out, "."],
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, "."],
    )
    (made,) = out.glob("*.whl")
    return made


def test_the_wheel_has_all_parts(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shared = [name.partition(".data/data/")[2] for name in names]
    assert "etc/jupyter/jupyter_server_config.d/gpunb.json" in shared
    lab = [name for name in shared if name.startswith("share/jupyter/labextensions/gpunb/")]
    kinds = {re.sub(r"\.[0-9a-f]{16}\.", ".", Path(name).name) for name in lab}
    assert {"install.json", "package.json", "plugin.json", "remoteEntry.js", "style.js"} <= kinds
    pages = ROOT / "gpunb" / "notebook" / "widgets" / "static"
    missing = {one.relative_to(ROOT).as_posix() for one in pages.rglob("*") if one.is_file()} - set(names)
    assert not missing
    assert "gpunb/notebook/widgets/static/picker.js" in names
    assert "gpunb/server/openapi.yaml" in names


def test_versions_are_one(built: None) -> None:
    from gpunb import __version__
    from gpunb.server import API

    package = json.loads((ROOT / "labextension" / "package.json").read_text("utf-8"))
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text("utf-8"))
    source = (ROOT / "labextension" / "src" / "version.ts").read_text("utf-8")
    assert package["version"] == lock["version"] == __version__
    assert f"VERSION = '{__version__}'" in source
    assert f"API = {API};" in source
    hosts = [one["resolved"] for one in lock["packages"].values() if "resolved" in one]
    assert hosts == []  # each machine asks its own registry


def test_both_extensions_are_ok_without_node(wheel: Path, tmp_path: Path) -> None:
    env = tmp_path / "env"
    uv = Path(sys.prefix) / "bin" / "uv"
    known = ROOT / ".ci" / "constraints.txt"
    either(
        [uv if uv.exists() else "uv", "venv", "-q", "--seed", "--python", sys.executable, env],
        [sys.executable, "-m", "venv", env],
    )
    either(
        [uv if uv.exists() else "uv", "pip", "install", "-q", "-p", env, "-c", known, wheel, "jupyterlab"],
        [env / "bin" / "python", "-m", "pip", "install", "-q", "-c", known, wheel, "jupyterlab"],
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "GPUNB"))}
    alone |= {"PATH": str(env / "bin"), "HOME": str(tmp_path)}
    assert shutil.which("node", path=alone["PATH"]) is None
    said = ran(env / "bin" / "jupyter", "labextension", "list", env=alone, cwd=tmp_path).stdout
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert re.search(r"gpunb v\S+ enabled OK \(python, gpunb\)", said), said
    said = ran(env / "bin" / "jupyter", "server", "extension", "list", env=alone, cwd=tmp_path).stdout
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert re.search(r"gpunb enabled", said), said
    assert re.search(r"gpunb \S+ OK", said), said
