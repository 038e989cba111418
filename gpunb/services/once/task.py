"""What `once` is to run: its project, where that lies on the host, and what comes back."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import gettempdir
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.services import project
from gpunb.services.running import jobs, packages, run_secrets
from gpunb.sessions.lifecycle.fetch_results import PROJECT
from gpunb.sessions.project.places import MARKERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.services.running.jobs import Prepared
    from gpunb.services.running.packages import Needs

__all__ = ["Task", "task"]

# where the packages of a project are listed, the most exact first
_LISTS = ("uv.lock", "requirements.txt", "pyproject.toml", "environment.yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run whose words hold no mistake that can be seen here.

    Attributes
    ----------
    root
        The folder that is sent.
    inner
        The folder in it that the run is in, relative to it.
    job
        What runs.
    save
        Paths that come back, relative to `root` or absolute ones of the host.
    needs, listed
        The packages to install, and the file that lists them.
    checkpoint
        The folder that comes home while it runs, relative to `root`; "" if none does.
    left
        Why a list of packages in the project is not installed; "" if there is none.
    """

    root: Path
    inner: str
    job: Prepared
    save: Sequence[str]
    needs: Needs | None = None
    listed: Path | None = None
    left: str = ""
    checkpoint: str = ""


def task(
    words: Sequence[str],
    *,
    run_id: str,
    module: str | None = None,
    is_command: bool = False,
    save: Sequence[str] = (),
    requirements: Path | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    values: Sequence[tuple[str, str]] = (),
    output: str | None = None,
    checkpoint: str = "",
) -> Task:
    """Check what is to run, and find its project.

    Parameters
    ----------
    words
        A script or notebook and its arguments, a module's arguments, or with `is_command` a command.
    save
        What comes back, from the folder that it runs in; empty for what the run writes into the project.
    requirements
        A file of packages; without it the script's own list, else the project's.
    checkpoint
        The folder from which the run can go on, from the folder that it runs in.

    Raises
    ------
    BadInput
        There is no such script, it lies outside of the project, or a file or path breaks its rule.
    """
    here = Path.cwd()
    script = None if is_command or module is not None else _script(words)
    top = _root(here, script)
    within = here if here.is_relative_to(top) else top
    inner = within.relative_to(top).as_posix()
    wish = jobs.JobWish(
        words=() if is_command else words,
        module=module,
        shell_line=shlex.join(words) if is_command else None,
        env=dict(env or {}),
        secret_names=secrets,
        values=values,
        output=output,
        there="" if script is None else Path(os.path.relpath(script, within)).as_posix(),
        run_id=run_id,
    )
    job = jobs.prepare(wish)
    kept = [_saved(path, within, top) for path in save] or [PROJECT]
    if job.result is not None:
        kept.append(_saved(job.result.name, within, top))
    resumed = _checkpoint(checkpoint, within, top, kept, secrets) if checkpoint else ""
    needs, listed, left = _needs(script, top, requirements)
    return Task(
        root=top,
        inner=inner,
        job=job,
        save=kept,
        needs=needs,
        listed=listed,
        left=left,
        checkpoint=resumed,
    )


def _script(words: Sequence[str]) -> Path:
    if not words:
        msg = "once needs a script, a notebook, -m MODULE, or -- and a command"
        raise BadInput(msg, hint=typed("once train.py --gpu L4 -- --epochs 3"))
    path = Path(words[0])
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        msg = f"once {words[0]!r} is a folder, not a script"
        raise BadInput(msg, hint=typed("once", f"{words[0]}/SCRIPT") + " sends the project around it")
    msg = f"once: there is no script {words[0]!r} here"
    raise BadInput(msg, hint=jobs.close_names(path))


def _root(here: Path, script: Path | None) -> Path:
    """The project: of the working folder, else of the script's folder."""
    path = None if script is not None and here == Path.home().resolve() else project.root(here)
    if script is not None and (path is None or not any((path / name).exists() for name in MARKERS)):
        path = project.root(script.parent)
    assert path is not None  # noqa: S101 - one of both is there
    if path == Path(gettempdir()).resolve():
        msg = f"once: {path} is no project: all of it would be sent"
        raise BadInput(msg, hint="put the script into a folder of its own, and go there")
    if script is not None and not script.is_relative_to(path):
        msg = f"once: the script {str(script)!r} is outside of the project {str(path)!r}"
        raise BadInput(msg, hint=f"go to its folder first: cd {shlex.quote(str(script.parent))}")
    return path


def _saved(path: str, within: Path, root: Path, option: str = "--save") -> str:
    """A path of `option`, as typed in the folder `within`, as the session keeps it."""
    if not path.strip() or "\0" in path:
        msg = f"once {option} {path!r}: must name a file or folder"
        raise BadInput(msg)
    if path.startswith("~"):
        return path
    whole = Path(os.path.normpath(within / path))
    if whole.is_relative_to(root):
        return str(PurePosixPath(whole.relative_to(root)))
    if path.startswith("/"):
        return path  # of the host
    msg = f"once {option} {path!r} leads out of the project {str(root)!r}"
    raise BadInput(msg, hint="name a path in the project, or the host's whole path")


def _checkpoint(path: str, within: Path, root: Path, kept: list[str], secrets: Sequence[str]) -> str:
    """Check `--checkpoint`; the folder is saved at the end, too."""
    place = _saved(path, within, root, "--checkpoint")
    if place.startswith(("/", "~")) or place == ".":
        msg = f"once --checkpoint {path!r}: must be a folder inside of the project {str(root)!r}"
        raise BadInput(msg)
    if (root / place).exists() and not (root / place).is_dir():
        msg = f"once --checkpoint {path!r} is a file, and must be a folder"
        raise BadInput(msg)
    lone = [name for text in secrets for name in text.split(",") if not run_secrets.is_kept(name.strip())]
    if lone:
        msg = f"once --secret {lone[0]}: with --checkpoint it must be in the keyring: nobody is asked again"
        raise BadInput(msg, hint=f"keyring set {run_secrets.SERVICE} secret:{lone[0]}")
    if kept != [PROJECT]:
        for one in kept:
            if f"{place}/".startswith(f"{one}/"):
                break
        else:
            kept[:] = [*(one for one in kept if not one.startswith(f"{place}/")), place]
    return place


def _needs(
    script: Path | None, root: Path, requirements: Path | None
) -> tuple[Needs | None, Path | None, str]:
    """What to install, the file that says so, and why a list that is there can't be used."""
    if requirements is not None:
        return packages.read(requirements), requirements, ""
    if script is not None and script.suffix != ".ipynb" and (needs := packages.inline(script)) is not None:
        return needs, script, ""
    for name in _LISTS:
        path = root / name
        if not path.is_file():
            continue
        try:
            return packages.read(path), path, ""
        except BadInput as err:  # it was not asked for: the run may do without
            if name != "pyproject.toml":
                return None, None, err.message.removeprefix("--requirements ")
    return None, None, ""
