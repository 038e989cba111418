"""Vast's published client, unchanged, in one process of its own: a line of arguments in, an answer out.

A process for each command would take a second each. What runs here is the client's own parser and its
own `run_command`, with its own exit codes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Answer", "VastClient", "client_python"]

ROOT = Path(__file__).resolve().parents[3]

_DRIVER = """
import argparse, contextlib, io, json, sys
from vastai.cli import main as cli

def run(argv, work):
    out, err, code, sys.argv = io.StringIO(), io.StringIO(), 0, ["vastai", *argv]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            work()
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}

def again():
    cli.run_command(cli.parser.parse_args())

run(["help"], cli.main)  # adds the options that all commands have, which it can do once
actions = [one for one in cli.parser.parser._actions if isinstance(one, argparse._SubParsersAction)]
choices = actions[0].choices
print(json.dumps({name: bool(getattr(one, "host_only", False)) for name, one in choices.items()
                  if name == getattr(one, "command_name", name)}), flush=True)
for line in sys.stdin:
    print(json.dumps(run(json.loads(line), again)), flush=True)
"""


def client_python() -> str | None:
    """A Python that has ``vastai``: ours, ``VASTAI_PYTHON``, or a venv under build/."""
    for python in (
        sys.executable,
        os.environ.get("VASTAI_PYTHON"),
        str(ROOT / "build/vastai/bin/python"),
    ):
        if python and Path(python).exists():
            probe = [python, "-c", "import vastai"]
            if subprocess.run(probe, capture_output=True, check=False, timeout=60).returncode == 0:
                return python
    return None


@dataclass(frozen=True)
class Answer:
    """What one command came to."""

    code: object
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its ``--raw`` answer."""
        return json.loads(self.out)


class VastClient:
    """The client at a simulated Vast's address.

    Attributes
    ----------
    commands
        Name of each of its commands -> whether it is for hosts only, in its own words.
    """

    def __init__(self, python: str, env: dict[str, str], url: str) -> None:
        self._url = url
        self._process = subprocess.Popen(
            [python, "-c", _DRIVER], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.commands: dict[str, bool] = json.loads(self._line())

    def __call__(self, *args: str) -> Answer:
        """``client("show", "user", "--raw")``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([*args, "--url", self._url]) + "\n")
        self._process.stdin.flush()
        return Answer(**json.loads(self._line()))

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
