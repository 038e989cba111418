"""The host's Python environment: pip, and hints for failed imports."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, JobFailed, RemoteCellError, VariableError
from gpunb.hints import typed
from gpunb.python_errors import Lacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.remote import AgentClient

__all__ = ["explain", "explain_job", "explain_variable", "pip", "refresh", "remedy"]

_PIP = """
python=$1; shift
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
export PIP_BREAK_SYSTEM_PACKAGES=1 UV_BREAK_SYSTEM_PACKAGES=1
if "$python" -m pip --version >/dev/null 2>&1; then exec "$python" -m pip "$@"; fi
if command -v uv >/dev/null 2>&1; then word=$1; shift; exec uv pip "$word" --python "$python" "$@"; fi
"$python" -m ensurepip --default-pip && exec "$python" -m pip "$@"
echo "the host's $python has no pip, and there is no uv" >&2
exit 127
"""
# a rented machine has no other users' packages to protect

# distributions by import name, for modules that are not installed here
_KNOWN = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "einops": "einops",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "transformers": "transformers",
    "yaml": "pyyaml",
}


def pip(client: AgentClient, words: Sequence[str]) -> list[str]:
    """The command that runs pip with `words` in the host's Python."""
    words = list(words)
    if words[:1] == ["uninstall"] and not {"-y", "--yes"} & set(words):
        words.insert(1, "-y")  # a job can't be asked
    return ["/bin/sh", "-c", _PIP, "gpunb-pip", client.info.python, *words]


def refresh(client: AgentClient) -> None:
    """Make the kernel find newly installed packages; a busy kernel does so a little later."""
    content = {"code": "__import__('importlib').invalidate_caches()"}
    with contextlib.suppress(GpunbError):
        client.kernel_request("execute_request", content, timeout=2.0)


def explain(error: RemoteCellError, folder: Path | None = None) -> None:
    """Add a remedy for a failed import on the host as the error's hint."""
    if error.ename != "ModuleNotFoundError" or error.hint:
        return
    lacks = Lacks.of(error.evalue)
    if lacks and lacks.module:
        error.hint = remedy(lacks.module, folder or Path.cwd())


def explain_job(error: JobFailed, words: str, folder: Path | None = None) -> None:
    """As `explain`, for a script whose last `words` on stderr say what it could not import."""
    lines = [line for line in words.splitlines() if line.strip()]
    if not lines or not lines[-1].startswith("ModuleNotFoundError:"):
        return
    lacks = Lacks.of(lines[-1])
    if lacks and lacks.module:
        error.hint = remedy(lacks.module, folder or Path.cwd(), cell=False) or error.hint


def explain_variable(error: VariableError, *, sent: bool, folder: Path | None = None) -> None:
    """Add a hint on how to define a variable's class at the end that lacks it."""
    if error.lacks is None:
        return
    if error.lacks.cell_class:
        where = "on the host, too: put %%gpu above it" if sent else "here, too: without %%gpu"
        error.hint = f"{error.lacks.cell_class} is defined in a cell of this notebook: run that cell {where}"
    elif sent:
        error.hint = remedy(error.lacks.module, folder or Path.cwd()) or error.hint


def remedy(module: str, folder: Path, *, cell: bool = True) -> str | None:
    """The command that lets the host import `module`; None if unknown.

    A module that lies in `folder` is sent; a package that is installed here
    is installed there in the same version.
    """
    if module in sys.stdlib_module_names:
        return f"the host's Python is not {sys.version.split()[0]} as this one is, and has no {module}"
    if (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file():
        return f"{module} lies in this folder: " + _sending(".", cell=cell) + " sends it before the code runs"
    home = _home(module)
    if home is not None:
        sends = _sending(str(home), cell=cell)
        return f"{module} is of this machine: " + sends + " sends that folder before the code runs"
    found = _distribution(module)
    if found is None:
        known = _KNOWN.get(module)
        return typed("pip install", known) if known else None
    name, version = found
    return typed("pip install", f"{name}=={version.partition('+')[0]}")


def _sending(folder: str, *, cell: bool) -> str:
    return f"%%gpu --sync {folder}" if cell else typed("run --sync", folder)


def _distribution(module: str) -> tuple[str, str] | None:
    """Name and version of the local distribution that provides `module`."""
    from importlib import metadata

    names = metadata.packages_distributions().get(module)
    if not names:
        return None
    # a namespace (google, nvidia) has many distributions: the one with a matching name, else none
    close = [name for name in names if _plain(module) in _plain(name)] if len(set(names)) > 1 else names
    if not close:
        return None
    distribution = metadata.distribution(close[0])
    return distribution.metadata["Name"], distribution.version


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "", name).lower()


def _home(module: str) -> str | None:
    """The local folder that `module` is imported from, unless it is installed."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if not path.is_absolute() or {"site-packages", "dist-packages"} & set(path.parts):
        return None
    return str(path.parent.parent if spec.submodule_search_locations else path.parent)
