"""What git ignores besides the ignore files of a tree: see gitignore(5).

``.git/info/exclude``, the user's ``core.excludesFile``, and that a tracked
file is never ignored. git is asked where it is installed; nothing of the
repository's own configuration can make it run a program.
"""

from __future__ import annotations

import os
import stat
import subprocess
from functools import cached_property
from pathlib import Path

from gpunb.sync.planning.gitignore import Patterns

__all__ = ["Repo", "lines_of", "top_of"]

_PATIENCE_S = 20.0
_QUIET = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES")


def top_of(folder: Path) -> Path | None:
    """Return the top of the working tree that holds `folder`; None if there is none."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path / ".git"):
            return path
    return None


def lines_of(path: Path) -> list[str]:
    """Read the lines of an ignore file; none if there is no regular file: git follows no link either."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return []
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except (OSError, ValueError):  # or a name with a NUL, from a file that names a place
        return []
    return text.removeprefix("\ufeff").split("\n")


class Repo:
    """One git working tree, by its top folder."""

    def __init__(self, top: Path) -> None:
        self.top = top

    @cached_property
    def patterns(self) -> list[tuple[str, Patterns]]:
        """Names and patterns that apply after all ignore files of the tree, the stronger first."""
        found = [(".git/info/exclude", self._common / "info/exclude")]
        path_text = self._ask("config", "--path", "--get", "core.excludesFile").strip("\n")
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        path = self.top / path_text if path_text else settings / "git/ignore"
        found.append((str(path), path.resolve()))  # this one may be a link
        return [(name, patterns) for name, path in found if (patterns := Patterns(lines_of(path)))]

    @cached_property
    def tracked(self) -> set[str]:
        """Tracked files that an ignore pattern matches, relative to the top, and their parent folders."""
        listing = self._ask("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        result: set[str] = set()
        for path in listing.split("\0"):
            result.add(path)
            while "/" in path:
                path = path.rpartition("/")[0]  # noqa: PLW2901 - upwards
                result.add(path)
        result.discard("")
        return result

    @property
    def _common(self) -> Path:
        """The git directory that submodules and linked working trees share."""
        place = self.top / ".git"
        if place.is_file():
            first = next(iter(lines_of(place)), "")
            if not first.startswith("gitdir:"):
                return place  # no repository: git refuses it, too
            place = self.top / first.removeprefix("gitdir:").strip()
        shared = lines_of(place / "commondir")
        return place / shared[0].strip() if shared and shared[0].strip() else place

    def _ask(self, *words: str) -> str:
        """Return git's output; empty where git is missing or refuses (a folder of another user's)."""
        env = {name: value for name, value in os.environ.items() if name not in _QUIET}
        argv = ["git", "-c", "core.fsmonitor=false", *words]
        try:
            done = subprocess.run(
                argv,
                cwd=self.top,
                env={**env, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=_PATIENCE_S,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""
