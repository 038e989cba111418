"""Isolated start of our own Python programs, so that no file of the working folder is imported.

``python -m`` and ``python -c`` put the working folder first on `sys.path`: an ``argparse.py`` that
lies in a cloned project, or came from a host, would run in the supervisor. Programs are started as
``python -I .../isolated.py MODULE ARGS``: ``-I`` leaves out the working folder, ``PYTHON*`` variables
and the user's site folder, and `_path` puts back what may hold gpunb and what it needs, after the
standard library: absolute folders of ``PYTHONPATH``, the user's site folder, gpunb's own.

This file is also what is started; as a program it imports the standard library alone, and any
Python from 3.8 on runs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["argv"]


def argv(module: str, *args: str, python: str | None = None) -> list[str]:
    """The command line that runs `module` (as ``python -m`` does) with `args`, isolated.

    Parameters
    ----------
    python
        The Python to run it; None is this one.
    """
    return [python or sys.executable, "-I", str(Path(__file__).absolute()), module, *args]


def _path(module: str) -> None:
    """Restore the folders that ``-I`` removed, except the working folder, after the standard library."""
    import site

    try:
        here = Path.cwd().resolve()
    except OSError:  # it was deleted
        here = Path("/")
    named = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    more = [one for one in named if Path(one).is_absolute() and Path(one).resolve() != here]
    packages = (at for at, one in enumerate(sys.path) if one.endswith("-packages"))
    at = next(packages, len(sys.path))
    sys.path[at:at] = [one for one in more if one not in sys.path]
    # in a virtual environment that is closed to the system's packages, the user's are closed too
    closed = sys.prefix != sys.base_prefix and not _open_environment()
    if not closed and not os.environ.get("PYTHONNOUSERSITE"):
        user = site.getusersitepackages()
        if user not in sys.path and Path(user).is_dir():
            site.addsitedir(user)
    own = str(Path(__file__).absolute().parent.parent)
    if module.partition(".")[0] == "gpunb" and own not in sys.path:
        sys.path.append(own)


def _open_environment() -> bool:
    """Whether this virtual environment includes the system's packages (PEP 405)."""
    try:
        lines = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8").lower().splitlines()
    except (OSError, ValueError):
        return False
    return "include-system-site-packages=true" in [line.replace(" ", "") for line in lines]


def _main() -> None:
    import runpy

    del sys.argv[0]
    module = sys.argv[0]
    _path(module)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
