"""Which paths stay here, and by which rule.

In this order, the first that speaks decides:

1. ``exclude`` patterns of the call: left out.
2. ``include`` patterns of the call: sent, whatever the rules below say.
3. What nobody wants on a host: `.git`, virtual environments, caches.
4. Ignore files, on the way up only: ``.gpunbignore`` if the source's root has
   one, else ``.gitignore``; nested files and negation as in git.

All patterns have git's syntax. As in git, nothing inside of a folder that is
left out comes back, unless an ``include`` pattern names a path in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.sync.gitignore import Patterns

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

__all__ = ["PART", "PARTIAL_DIR", "Rules"]

PART = ".gpunb-part-"
"""How the names of our unfinished files begin."""

PARTIAL_DIR = ".gpunb-partial"
"""Where rsync keeps unfinished files, in each folder."""

_NEVER = {
    ".git": "git's own data",
    "__pycache__": "Python's cache",
    ".ipynb_checkpoints": "Jupyter's checkpoints",
    "node_modules": "installed node modules",
    ".mypy_cache": "a tool's cache",
    ".ruff_cache": "a tool's cache",
    ".pytest_cache": "a tool's cache",
    ".hypothesis": "a tool's cache",
    ".tox": "tox's environments",
    ".nox": "nox's environments",
    ".DS_Store": "the Finder's notes",
    PARTIAL_DIR: "rsync's unfinished files",
}


class Rules:
    """The rules of one sync.

    Parameters
    ----------
    root
        The local source, whose ignore files are read; None on the way down,
        where a host's ignore files must not hide results.
    include, exclude
        The call's own patterns.

    Raises
    ------
    BadInput
        A pattern that is not git's syntax.
    """

    def __init__(
        self, root: Path | None, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> None:
        self._root = root
        self._include = _patterns("include", include)
        self._exclude = _patterns("exclude", exclude)
        self._wanted = [p.strip("/").split("/") for p in include if "/" in p.strip("/")]
        own = root is not None and (root / ".gpunbignore").is_file()
        self._file_name = ".gpunbignore" if own else ".gitignore"
        self._files: dict[str, Patterns] = {}

    def why_out(self, path: str, *, folder: bool, names: Collection[str] = ()) -> str | None:
        """The rule that leaves `path` out, or None if it goes.

        Asked from the top down: a path is asked only if its folder goes.

        Parameters
        ----------
        path
            Relative to the root, ``/`` between names.
        names
            For a folder: the names in it, as far as known.
        """
        excluded = self._exclude.decide(path, folder=folder)
        if excluded is not None and not excluded.negated:
            return f"exclude {excluded.text!r}"
        if self._is_included(path, folder=folder) or (folder and self._leads_to_wanted(path)):
            return None
        default = _default(path.rpartition("/")[2], names if folder else ())
        if default is not None:
            return f"default: {default}"
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if self._is_included(above, folder=True):
                return None
        return self._ignored(path, folder=folder)

    def quiet_in(self, folder: str) -> bool:
        """Whether in this folder only the names that nobody wants are left out."""
        if self._include or self._exclude:
            return False
        if self._root is None:
            return True
        while True:
            if self._load(folder):
                return False
            if not folder:
                return True
            folder = folder.rpartition("/")[0]

    def pruning(self) -> dict[str, Any]:
        """What the host need not go into, for its own walk; `why_out` still decides here.

        An include pattern may bring back what lies below, so with one nothing
        but excluded folders is named.
        """
        certain = [] if any(p.negated for p in self._exclude) else list(self._exclude)
        return {
            "names": [] if self._include else sorted(_NEVER),
            "venvs": not self._include,
            "patterns": [(p.regex.pattern, p.by_name) for p in certain],
        }

    def is_ignore_rule(self, rule: str) -> bool:
        """Whether `rule`, from `why_out`, is of an ignore file (which may hide data by mistake)."""
        return not rule.startswith(("default: ", "exclude "))

    def _is_included(self, path: str, *, folder: bool) -> bool:
        pattern = self._include.decide(path, folder=folder)
        return pattern is not None and not pattern.negated

    def _ignored(self, path: str, *, folder: bool) -> str | None:
        if self._root is None:
            return None
        above = path
        while above:
            above = above.rpartition("/")[0]
            prefix = f"{above}/" if above else ""
            pattern = self._load(above).decide(path[len(prefix) :], folder=folder)
            if pattern is not None:
                return (
                    None if pattern.negated else f"{prefix}{self._file_name}:{pattern.number} {pattern.text}"
                )
        return None

    def _load(self, folder: str) -> Patterns:
        if folder not in self._files:
            self._files[folder] = Patterns(self._lines(folder))
        return self._files[folder]

    def _lines(self, folder: str) -> list[str]:
        assert self._root is not None  # noqa: S101 - _ignored looked
        path = self._root / folder / self._file_name
        try:
            if path.is_symlink():  # git does not follow it either
                return []
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            return []
        return text.removeprefix("\ufeff").split("\n")

    def _leads_to_wanted(self, path: str) -> bool:
        """Whether an include pattern names something below the folder `path`."""
        parts = path.split("/")
        return any(len(w) > len(parts) and w[: len(parts)] == parts for w in self._wanted)


def _default(name: str, inside: Collection[str]) -> str | None:
    if name.startswith(PART):
        return "gpunb's unfinished file"
    if "pyvenv.cfg" in inside:
        return "a virtual environment"
    return _NEVER.get(name)


def _patterns(field: str, lines: Sequence[str]) -> Patterns:
    for line in lines:
        if not Patterns([line]):
            msg = f"{field} {line!r}: must be a pattern in .gitignore's syntax"
            raise BadInput(msg)
    return Patterns(lines)
