"""What a host's file may be called to come into the project by itself.

Nothing that runs here because of its name comes from a host that is not `own`: it is named, and taken only
when the user says so. Programs of any kind are meant, not only those that start by themselves
(`gpunb.sync.local.autorun`): the next ``import helpers``, ``make`` or ``pytest`` here would run them.
"""

from __future__ import annotations

import re

from gpunb.sync.local import autorun
from gpunb.sync.planning.side import name_problem

__all__ = ["unfit", "why_held"]

_CODE = re.compile(
    r".*\.(py|pyw|pyi|pyx|pxd|pyc|pyo|pyd|pth|egg|whl|pex|pyz|ipynb|so(\.\d+)*|dylib|dll|exe|com|scr|msi|bat|cmd"
    r"|ps1|psm1|vbs|wsf|hta|lnk|sh|bash|zsh|ksh|csh|fish|command|tool|app|desktop|jar|class|js|mjs|cjs|ts|mts"
    r"|jsx|tsx|vue|rb|pl|pm|lua|r|rprofile|jl|php|go|rs|c|cc|cpp|cxx|h|hpp|cu|cuh|m|swift|scala|kt|groovy|gradle"
    r"|el|vim|awk|tcl|mk|mak|cmake|ninja|bzl|nix|toml|cfg|ini|service|timer|workflow|url|webloc|reg)"
)
_BUILD = re.compile(
    r"(gnu)?makefile(\..*)?|justfile|rakefile|gemfile|vagrantfile|jenkinsfile|procfile|snakefile|dockerfile(\..*)?"
    r"|containerfile|docker-compose\..*|compose\.ya?ml|cmakelists\.txt|build|build\.bazel|workspace|meson\.build"
    r"|package(-lock)?\.json|tsconfig.*\.json|pnpm-lock\.yaml|yarn\.lock|pipfile(\.lock)?|environment\.ya?ml"
    r"|requirements.*\.(txt|in)|constraints.*\.txt|conftest.*|sitecustomize.*|usercustomize.*"
    r"|py\.typed|entry_points\.txt|pkg-info|metadata|record|claude\.md|agents\.md"
)


def why_held(path: str) -> str:
    """Why the file `path` of a stranger's host does not come by itself; "" if it does.

    The names of the folders on the way count too: ``.git/config``, ``.vscode/tasks.json``.
    """
    names = path.split("/")
    for name in names:
        plain = autorun.canonical(name)
        found = autorun.why(name)
        if found:
            return found
        if plain.startswith("."):
            return "programs read hidden files at their start"
        if plain.endswith((".egg-info", ".dist-info")):
            return "Python reads it as an installed package"
    last = autorun.canonical(names[-1])
    if _CODE.fullmatch(last):
        return "it is code, a notebook or a program's settings"
    return "a build or an installer runs it" if _BUILD.fullmatch(last) else ""


def unfit(path: str) -> str:
    """Why `path` is not a path that a host may name, or that can be shown; "" if it is fine."""
    if len(path) > 4000 or not path:
        return "its name is too long"
    names = path.split("/")
    for name in names:
        problem = name_problem(name, path)
        if problem is not None:
            return problem
        if not name.isprintable():
            return "name with characters that can't be shown"
    return "git's own data never comes" if any(map(autorun.is_git, names)) else ""
