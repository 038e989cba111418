"""Requirement files: reading each kind, and installing the packages in the host's Python.

``requirements.txt`` (with the files that it names), ``pyproject.toml`` (the
project's dependencies), ``uv.lock`` (the exact versions, markers kept) and
conda's ``environment.yml``.
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, JobFailed, RunError
from gpunb.hints import typed
from gpunb.services.running import python_spec

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.remote import AgentClient
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["Needs", "inline", "install", "read"]

TAIL = 15  # lines of a failed installation that are shown
_INCLUDE = re.compile(r"^(\s*(?:-r|-c|--requirement|--constraint)[\s=]+)(\S+)")
_LOCAL = re.compile(r"^\s*(?:-e\b|--editable\b|\.{1,2}/|file:|/)")
# of the specification of inline script metadata (PEP 723)
_INLINE = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_CONDA = """
prefix=$("$1" -c 'import sys; print(sys.prefix)')
if [ ! -d "$prefix/conda-meta" ]; then
  echo "the host's Python ($1) is not of a conda environment" >&2; exit 3
fi
for tool in micromamba mamba "${CONDA_EXE:-conda}" /opt/conda/bin/mamba /opt/conda/bin/conda; do
  command -v "$tool" >/dev/null 2>&1 || continue
  case "$tool" in
    micromamba) exec "$tool" install -y -p "$prefix" -f "$2" ;;
    *) exec "$tool" env update -p "$prefix" -f "$2" ;;
  esac
done
echo "the host has no conda, mamba or micromamba" >&2; exit 3
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """The packages to install: files by name, the first of which is given to the tool.

    `tool` is "pip" or "conda". `python` is the script's ``requires-python`` (PEP 440), "" for any.
    """

    tool: str
    files: dict[str, str]
    python: str = ""


def read(path: Path) -> Needs:
    """Read the packages that the file at `path` lists.

    Raises
    ------
    BadInput
        It is of no known kind, is damaged, or needs files that are only on this machine.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        why = getattr(err, "strerror", None) or "not UTF-8 text"
        msg = f"--requirements {str(path)!r} can't be read: {why}"
        raise BadInput(msg) from err
    if path.name == "uv.lock":
        return Needs("pip", {"requirements.txt": _locked(path, _toml(path, text))})
    if path.suffix == ".toml":
        return Needs("pip", {"requirements.txt": _project(path, _toml(path, text))})
    if path.suffix in (".yml", ".yaml"):
        if not re.search(r"^dependencies\s*:", text, re.MULTILINE):
            msg = f"--requirements {str(path)!r} has no 'dependencies:', so it is not a conda environment"
            raise BadInput(msg)
        return Needs("conda", {"environment.yml": text})
    if path.suffix in (".txt", ".in", ".pip"):
        files: dict[str, str] = {}
        _with_included(path, files, [])
        return Needs("pip", files)
    msg = f"--requirements {str(path)!r}: is not a kind of file that gpunb knows"
    raise BadInput(msg, hint="requirements.txt, pyproject.toml, uv.lock or environment.yml")


def inline(script: Path) -> Needs | None:
    """Read the packages that a script lists in itself (PEP 723); None if it has no such block.

    Raises
    ------
    BadInput
        The block is damaged, or there are two; or its ``requires-python`` allows no Python at all.
    """
    text = script.read_text("utf-8", "replace").replace("\r\n", "\n")
    blocks = [found["content"] for found in _INLINE.finditer(text) if found["type"] == "script"]
    if len(blocks) > 1:
        msg = f"{str(script)!r} has {len(blocks)} blocks '# /// script', and may have one"
        raise BadInput(msg)
    if not blocks:
        return None
    lines = (line[2:] if line.startswith("# ") else line[1:] for line in blocks[0].splitlines())
    table = _toml(script, "\n".join(lines))
    needs = table.get("dependencies", [])
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        msg = f"{str(script)!r}: dependencies in its block '# /// script' is not a list of texts"
        raise BadInput(msg)
    text = "\n".join(needs) + "\n"
    return Needs("pip", {"requirements.txt": text}, python_spec.checked(script, table.get("requires-python")))


def _toml(path: Path, text: str) -> dict[str, Any]:
    # tomli is tomllib's own ancestor, for Python 3.10
    tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        result: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        msg = f"--requirements {str(path)!r} is not TOML: {err}"
        raise BadInput(msg) from err
    return result


def _with_included(path: Path, files: dict[str, str], above: list[Path]) -> str:
    """Add `path` and the files that it includes under new names; returns its own new name."""
    if path.resolve() in above:
        msg = f"--requirements: {str(path)!r} includes itself"
        raise BadInput(msg)
    name = f"{len(files)}.txt"
    files[name] = ""
    lines = []
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        msg = f"--requirements: {str(path)!r}, named in another file, can't be read"
        raise BadInput(msg) from err
    for line in text.splitlines():
        if _LOCAL.match(line):
            msg = f"--requirements {str(path)!r}: {line.strip()!r} is only on this machine"
            raise BadInput(msg, hint="take the line out, and send the folder with %%gpu --sync or run --sync")
        found = _INCLUDE.match(line)
        if found and "://" not in found.group(2):
            inner = _with_included(path.parent / found.group(2), files, [*above, path.resolve()])
            lines.append(f"{found.group(1)}{inner}{line[found.end() :]}")
        else:
            lines.append(line)
    files[name] = "\n".join(lines) + "\n"
    return name


def _project(path: Path, table: dict[str, Any]) -> str:
    project = table.get("project")
    if not isinstance(project, dict):
        msg = f"--requirements {str(path)!r} has no [project]"
        raise BadInput(msg)
    if "dependencies" in project.get("dynamic", []):
        msg = f"--requirements {str(path)!r}: the project's dependencies are dynamic, not written there"
        raise BadInput(msg, hint="name the file that they come from, or a uv.lock")
    needs = project.get("dependencies", [])
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        msg = f"--requirements {str(path)!r}: project.dependencies is not a list of texts"
        raise BadInput(msg)
    return "\n".join(needs) + "\n"


def _locked(path: Path, table: dict[str, Any]) -> str:
    """A uv.lock's packages with exact versions, each with the markers of its dependency paths."""
    packages = [one for one in table.get("package", []) if isinstance(one, dict) and one.get("name")]
    roots = [one for one in packages if {"editable", "virtual"} & set(one.get("source", {}))]
    if not roots:
        msg = f"--requirements {str(path)!r} has no project in it"
        raise BadInput(msg, hint="uv lock writes it")
    ways: dict[tuple[str, str], set[str]] = {}  # package -> markers, "" for always
    work = [(need, "") for root in roots for need in root.get("dependencies", [])]
    while work:
        need, above = work.pop()
        marker = _all_of(above, str(need.get("marker", "")))
        for package in packages:
            if package["name"] != need.get("name") or need.get("version") not in (
                None,
                package.get("version"),
            ):
                continue
            if package in roots:
                continue
            known = ways.setdefault((package["name"], str(package.get("version", ""))), set())
            if "" in known or marker in known or len(known) > 50:
                continue
            known.add(marker)
            extras = [
                extra
                for name in need.get("extra", [])
                for extra in package.get("optional-dependencies", {}).get(name, [])
            ]
            work += [(inner, marker) for inner in [*package.get("dependencies", []), *extras]]
    by_key = {(one["name"], str(one.get("version", ""))): one for one in packages}
    lines = []
    for key in sorted(ways):
        text = _pinned(path, by_key[key])
        if "" not in ways[key]:
            several = sorted(ways[key])
            text += " ; " + (" or ".join(f"({one})" for one in several) if len(several) > 1 else several[0])
        lines.append(text)
    return "\n".join(lines) + "\n"


def _all_of(one: str, two: str) -> str:
    return f"({one}) and ({two})" if one and two and one != two else one or two


def _pinned(path: Path, package: dict[str, Any]) -> str:
    name, source = package["name"], package.get("source", {})
    if "git" in source:
        address, _, commit = str(source["git"]).partition("#")
        return f"{name} @ git+{address.partition('?')[0]}@{commit}"
    if "url" in source:
        return f"{name} @ {source['url']}"
    if {"path", "directory"} & set(source):
        msg = f"--requirements {str(path)!r}: {name} is only on this machine"
        raise BadInput(msg, hint="send its folder with %%gpu --sync or run --sync")
    return f"{name}=={package.get('version')}"


def install(context: Workspace, session: Session, client: AgentClient, *, path: Path, needs: Needs) -> str:
    """Install `needs` on the host, as a job; returns its run id.

    Raises
    ------
    JobFailed
        With the last lines that the tool printed.
    """
    from gpunb.services.running import host_python, runs
    from gpunb.services.running.log_filter import KeptText
    from gpunb.ssh import quote

    label = f"install {path.name}"
    kept = KeptText(TAIL)
    with context.progress(f"installing {path.name} on {session.name}") as progress:
        with runs.noted(context, session, kind="job", name=label) as run_id:
            folder = f"{client.info.folder}/requirements/{run_id}"
            first = next(iter(needs.files))
            for name, text in needs.files.items():
                line = quote(["sh", "-c", 'mkdir -p "$1" && cat > "$1/$2"', "sh", folder, name])
                done = client.connection.run(line, input=text.encode(), timeout=120)
                if done.code:
                    why = done.err.decode("utf-8", "replace").strip()[-300:]
                    msg = f"{path.name} could not be sent: {why}"
                    raise RunError(msg)
            if needs.tool == "conda":
                argv = ["/bin/sh", "-c", _CONDA, "gpunb-conda", client.info.python, first]
            else:
                argv = host_python.pip(client, ["install", "-r", first])
            handle = client.run_job(argv, cwd=folder, name=label, run_id=run_id)
        try:
            runs.follow(context, handle, _Watched(kept, progress), interactive=False)
        except JobFailed as err:
            kept.finish()
            err.message = f"{path.name} could not be installed on {session.name}: {kept.text().strip()}"
            err.bill = f"{session.name} runs and is billed"
            err.hint = (
                typed("logs", run_id) + " shows all of it; " + typed("pip install …") + " tries by hand"
            )
            raise
    host_python.refresh(client)
    return run_id


class _Watched:
    """A sink that keeps the lines and shows the newest one as progress."""

    def __init__(self, kept: Any, progress: Any) -> None:
        self._kept, self._progress = kept, progress

    def stream(self, name: str, text: str) -> None:
        self._kept.stream(name, text)
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            self._progress.say(lines[-1].strip()[:100])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)
