"""Simulation of a container's start command, up to the moment when its SSH server would listen.

The command is run, by a shell, in a folder that stands for the container's
file system: its paths are rewritten to begin there. Its ``sshd`` is
`gpunb.sim.hosts.sshd`, which records the host key that it would show and then ends.
So a command with a wrong quote, a key that others can read or a missing user's
key has the same result as on a real machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Started", "has_sshd", "start"]

# not after characters that occur in the lines of a key
_PATHS = re.compile(r"(?<![\w/.+-])(?:~root|/root)(?![\w-])|(?<![\w/.+-])/(?=(?:run|usr|etc|var|opt)\b)")
#: a command that has not reached its server by then is some other program
PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Started:
    """The result of a start command.

    Attributes
    ----------
    listens
        Whether an SSH server stays in the foreground.
    host_key
        The private key that it shows (OpenSSH PEM); None for one of the image's own.
    public_keys
        The lines that may log in as root.
    env
        What a login sees of the container's variables.
    """

    listens: bool
    host_key: str | None = None
    public_keys: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)


def has_sshd(image: str) -> bool:
    """Return whether an image has OpenSSH's server: Docker Hub's official ones (no owner) have none."""
    return "/" in image.removeprefix("docker.io/").removeprefix("library/")


def start(command: str, *, image: str, env: Mapping[str, str]) -> Started:
    """Run `command` as the entrypoint of `image` with the variables `env`."""
    root = Path(tempfile.mkdtemp(prefix="gpunb-container-"))
    try:
        for name in ("usr/sbin", "run", "etc", "var", "opt"):
            (root / name).mkdir(parents=True)
        (root / "root").mkdir(mode=0o700)
        if has_sshd(image):
            _put_sshd(root / "usr/sbin/sshd")
        output = _run(_PATHS.sub(lambda found: _moved(found[0], root), command), root, env)
        return _outcome(root, output, env)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _moved(path: str, root: Path) -> str:
    return f"{root}/root" if path.endswith("root") else f"{root}/"


def _put_sshd(program: Path) -> None:
    from gpunb.sim.hosts import sshd

    program.write_text(f"#!{sys.executable} -IS\n{Path(sshd.__file__).read_text('utf-8')}", "utf-8")
    program.chmod(0o755)


def _run(command: str, root: Path, env: Mapping[str, str]) -> list[str]:
    with (
        (root / "output").open("w+b") as output,
        subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=root,
            env={"PATH": os.defpath, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as child,
    ):
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    return (root / "output").read_text("utf-8", errors="replace").splitlines()


def _outcome(root: Path, output: list[str], env: Mapping[str, str]) -> Started:
    try:
        outcome = json.loads((root / "sshd.json").read_text("utf-8"))
    except FileNotFoundError:
        return Started(listens=False, output=output)
    if not outcome["foreground"]:  # the first process ends, and the container with it
        return Started(listens=False, output=output)
    shown = _lines(root / "root/.ssh/environment") if outcome["environment"] else []
    return Started(
        listens=True,
        host_key=next(iter(outcome["host_keys"]), None),
        public_keys=[line for line in _lines(root / "root/.ssh/authorized_keys") if line.strip()],
        env={name: value for name, value in env.items() if f"{name}={value}" in shown},
        output=output,
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
