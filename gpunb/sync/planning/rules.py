"""The rules that decide which paths are not sent.

In this order, the first rule that matches decides:

1. ``exclude`` patterns of the call: left out.
2. ``include`` patterns of the call: sent, whatever the rules below say.
3. What is always left out: `.git`, virtual environments, caches.
   From a stranger's host also what could run on this machine (`gpunb.sync.local.autorun`); an ``include``
   of ``*`` does not include that, one that names it does.
4. Ignore files, on the way up only: ``.gpunbignore`` if the source's root has
   one, else what git ignores: ``.gitignore`` in each folder and above up to the
   repository's top, nested files and negation, ``info/exclude`` and the user's
   own; a tracked file goes, and a submodule has its own rules.
5. What looks like credentials stays, where the host is a stranger.

All patterns have git's syntax. As in git, nothing inside of a folder that is
left out comes back, unless an ``include`` pattern names a path in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.sync.local import autorun
from gpunb.sync.planning.credentials import is_credential
from gpunb.sync.planning.gitignore import Pattern, Patterns
from gpunb.sync.planning.gitrepo import Repo, lines_of, top_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

__all__ = ["NEVER", "PART", "PARTIAL_DIR", "SECRET", "Rules"]

PART = ".gpunb-part-"
"""How the names of our unfinished files begin."""

PARTIAL_DIR = ".gpunb-partial"
"""Where rsync keeps unfinished files, in each folder."""

SECRET = "secret: it looks like credentials"  # noqa: S105 - a reason, shown to users
"""The rule of a file that stays because the host is a stranger."""

NEVER = {
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
    hold
        Whether files that look like credentials stay.
    up
        Whether it goes to a host, where credentials are at least named; by default with a root.
    guard
        The source is a stranger's host: hold back what could run on this side.
    everything
        Nothing is left out but what `guard` holds back, and our own partial files.

    Raises
    ------
    BadInput
        A pattern that is not git's syntax.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        hold: bool = False,
        up: bool | None = None,
        guard: bool = False,
        everything: bool = False,
    ) -> None:
        self.hold = hold
        self.names_credentials = root is not None if up is None else up
        self._root = root
        self._guard, self._everything = guard, everything
        naming = [line for line in include if autorun.names_something(line)]
        self._naming = _patterns("include", naming)
        self._named = [p.strip("/").split("/") for p in naming if "/" in p.strip("/")]
        self._include = _patterns("include", include)
        self._exclude = _patterns("exclude", exclude)
        self._led: set[tuple[str, ...]] = set()
        self._wanted = [p.strip("/").split("/") for p in include if "/" in p.strip("/")]
        own = root is not None and (root / ".gpunbignore").is_file()
        self._file_name = ".gpunbignore" if own else ".gitignore"
        self._files: dict[str, Patterns] = {}
        self._masked: dict[int, str] = {}
        self._repos: dict[str, Repo | None] = {}
        self._entered: dict[str, str] = {}
        self._above: list[tuple[str, str, Patterns]] = []
        self._beneath = ""
        top = top_of(root) if root is not None and not own else None
        if root is not None and top is not None:
            self._repos[""] = Repo(top)
            self._beneath = _joined("" if root == top else root.relative_to(top).as_posix(), "")
            for folder in root.parents if root != top else ():
                lines = lines_of(folder / ".gitignore")
                start = _joined(root.relative_to(folder).as_posix(), "")
                self._above.append((start, f"{'../' * start.count('/')}.gitignore", Patterns(lines)))
                if folder == top:
                    break

    def why_out(self, path: str, *, folder: bool, names: Collection[str] = ()) -> str | None:
        """Return the rule that leaves `path` out, or None if it goes.

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
            wanted = self._include.decide(path, folder=folder) if self._include else None
            if wanted is not None:
                self._masked[wanted.number] = excluded.text
            for pattern in self._include if folder else ():  # a pattern that names something inside
                if f"{pattern.text.lstrip('/')}/".startswith(f"{path}/"):
                    self._masked.setdefault(pattern.number, excluded.text)
            return f"exclude {excluded.text!r}"
        name = path.rpartition("/")[2]
        included = self._is_included(path, folder=folder) or (folder and self._leads_to_wanted(path))
        default = _default(name, names if folder else (), everything=self._everything)
        if self._guard and (included or default is None or autorun.is_git(name)):
            held = self._held(path, folder=folder)
            if held is not None:
                return f"{autorun.HELD}{held}"
        if included:
            return None
        if default is not None:
            return f"default: {default}"
        rule = None
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if self._is_included(above, folder=True):
                break
        else:
            rule = self._ignored(path, folder=folder)
        if rule is None and self.hold and not folder and self.is_credential(path):
            rule = SECRET
        return rule

    def is_credential(self, path: str) -> bool:
        """Whether the file `path` looks like a key, a token or passwords."""
        if self._root is None:
            return is_credential(path)
        above = "/".join(self._root.parts[-2:]).lstrip("/")
        return is_credential(f"{above}/{path}", content=f"{self._root}/{path}")

    def without_effect(self) -> list[str]:
        """The call's patterns that matched nothing, each with what may have been meant."""
        result = []
        for option, patterns in (("include", self._include), ("exclude", self._exclude)):
            for pattern in reversed(list(patterns)):
                masked = self._masked.get(pattern.number) if option == "include" else None
                if masked is not None and not pattern.negated:
                    result.append(
                        f"--include {pattern.text!r} has no effect on what --exclude {masked!r} leaves out: "
                        f"exclude comes first. To send nothing else: --exclude '*' --exclude '!*/' "
                        f"--exclude {'!' + pattern.text!r}"
                    )
                elif pattern.number not in patterns.hit and not self._leads(option, pattern):
                    result.append(f"--{option} {pattern.text!r} matches nothing{self._meant(pattern)}")
        return result

    def _leads(self, option: str, pattern: Pattern) -> bool:
        """Whether the sync entered a folder because of this include pattern."""
        return option == "include" and tuple(pattern.text.strip("/").split("/")) in self._led

    def _meant(self, pattern: Pattern) -> str:
        text = pattern.text
        bare = text.removeprefix("!")
        if self._root is not None and bare.startswith(f"{self._root}/"):
            bare = bare.removeprefix(f"{self._root}")
        elif bare.startswith("./"):
            bare = bare[1:]
        elif "\\" in bare:
            bare = bare.replace("\\", "/")
        elif bare.startswith(("~", "..")):
            return ": patterns begin in the folder that is synced, as in .gitignore"
        else:
            return ""
        return f": patterns begin in the folder that is synced, as in .gitignore; write {bare!r}"

    def quiet_in(self, folder: str) -> bool:
        """Whether only the names that are always left out are left out in this folder."""
        if self._include or self._exclude or self.hold or self._above or self._guard:
            return False
        if self._root is None:
            return True
        while True:
            repo = self._repo(folder)
            if self._load(folder) or (repo is not None and repo.patterns):
                return False
            if not folder:
                return True
            folder = folder.rpartition("/")[0]

    def pruning(self) -> dict[str, Any]:
        """Names and patterns that the host's walk can skip; `why_out` still decides here.

        An include pattern may bring back what lies below, so with one nothing
        but excluded folders is named.
        """
        certain = [] if any(p.negated for p in self._exclude) else list(self._exclude)
        return {
            "names": [] if self._include or self._everything else sorted(NEVER),
            "venvs": not (self._include or self._everything),
            "patterns": [(p.regex.pattern, p.by_name) for p in certain],
        }

    def is_ignore_rule(self, rule: str) -> bool:
        """Whether `rule`, from `why_out`, comes from an ignore file (which may hide data by mistake)."""
        return rule != SECRET and not rule.startswith(("default: ", "exclude "))

    def _held(self, path: str, *, folder: bool) -> str | None:
        """The reason why `path` could run on this machine, unless it or a parent is included by name."""
        names = path.split("/") if self._naming else [path.rpartition("/")[2]]
        found = next((reason for name in names if (reason := autorun.why(name))), None)
        if found is None or not self._naming:
            return found
        above, is_folder = path, folder
        while above:
            pattern = self._naming.decide(above, folder=is_folder)
            if pattern is not None:
                return found if pattern.negated else None
            above, is_folder = above.rpartition("/")[0], True
        return None if folder and _leads_below(path, self._named) else found

    def _is_included(self, path: str, *, folder: bool) -> bool:
        pattern = self._include.decide(path, folder=folder)
        return pattern is not None and not pattern.negated

    def _ignored(self, path: str, *, folder: bool) -> str | None:
        if self._root is None:
            return None
        repo, start = self._repo_of(path)
        rule = self._pattern(path, folder=folder, top=start)
        inside = path
        while rule is None and "/" in inside:  # a folder entered only for its tracked files
            inside = inside.rpartition("/")[0]
            rule = self._entered.get(inside)
        if rule is None or repo is None:
            return rule
        prefix = self._beneath if not start else ""
        if prefix + path[len(start) :] not in repo.tracked:
            return rule
        if folder:
            self._entered[path] = rule
        return None

    def _pattern(self, path: str, *, folder: bool, top: str) -> str | None:
        """The pattern that ignores `path`, in the working tree that begins at `top`."""
        above = path
        while len(above) > len(top.rstrip("/")):
            above = above.rpartition("/")[0]
            prefix = _joined(above, "")
            pattern = self._load(above).decide(path[len(prefix) :], folder=folder)
            if pattern is not None:
                return _named(f"{prefix}{self._file_name}", pattern)
            if not above:
                break
        if not top:
            for prefix, name, patterns in self._above:
                pattern = patterns.decide(prefix + path, folder=folder)
                if pattern is not None:
                    return _named(name, pattern)
        repo = self._repo(top.rstrip("/"))
        for name, patterns in repo.patterns if repo is not None else ():
            pattern = patterns.decide(("" if top else self._beneath) + path[len(top) :], folder=folder)
            if pattern is not None:
                return _named(name, pattern)
        return None

    def _repo(self, folder: str) -> Repo | None:
        """The working tree whose top is `folder`; for the root, the one that contains it."""
        if folder not in self._repos:
            repo = None
            own_rules = self._file_name == ".gpunbignore"
            if self._root is not None and folder and not own_rules:
                place = self._root / folder
                repo = Repo(place) if (place / ".git").exists() else None
            self._repos[folder] = repo
        return self._repos[folder]

    def _repo_of(self, path: str) -> tuple[Repo | None, str]:
        """The working tree that `path` is in, and its prefix: "" or a folder with its slash."""
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            repo = self._repo(above)
            if repo is not None:
                return repo, f"{above}/"
        return self._repo(""), ""

    def _load(self, folder: str) -> Patterns:
        if folder not in self._files:
            assert self._root is not None  # noqa: S101 - _ignored looked
            self._files[folder] = Patterns(lines_of(self._root / folder / self._file_name))
        return self._files[folder]

    def _leads_to_wanted(self, path: str) -> bool:
        """Whether an include pattern names something below the folder `path`."""
        parts = path.split("/")
        found = [w for w in self._wanted if len(w) > len(parts) and w[: len(parts)] == parts]
        self._led.update(map(tuple, found))
        return bool(found)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _named(name: str, pattern: Pattern) -> str | None:
    return None if pattern.negated else f"{name}:{pattern.number} {pattern.text}"


def _leads_below(path: str, wanted: Sequence[Sequence[str]]) -> bool:
    parts = path.split("/")
    return any(len(w) > len(parts) and list(w[: len(parts)]) == parts for w in wanted)


def _default(name: str, inside: Collection[str], *, everything: bool) -> str | None:
    if name.startswith(PART):
        return "gpunb's unfinished file"
    if everything:
        return None
    if "pyvenv.cfg" in inside:
        return "a virtual environment"
    # a file system here may take .GIT for .git, whatever the host's does
    return NEVER[".git"] if autorun.is_git(name) else NEVER.get(name)


def _patterns(field: str, lines: Sequence[str]) -> Patterns:
    for line in lines:
        if not Patterns([line]):
            msg = f"{field} {line!r}: must be a pattern in .gitignore's syntax"
            raise BadInput(msg)
    return Patterns(lines)
