"""Names of files that run on this machine by themselves: a shell's start-up files, git's hooks and such.

What a stranger's host sends under such a name is held back and named; an ``include`` pattern that
names it takes it. Names are compared as any file system might compare them: git's own checks against
CVE-2014-9390 and CVE-2019-1352 are the model (``verify_path`` in git's read-cache.c, ``is_hfs_dotgit``
in utf8.c, ``is_ntfs_dotgit`` in path.c).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpunb.sync.planning.plan import LeftOut

__all__ = ["HELD", "canonical", "held_note", "is_git", "names_something", "why"]

HELD = "default: held back, "
"""How the rule begins that leaves such a name out."""

# code points that HFS+ leaves out of a comparison
_IGNORED = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF], None
)
_SHORT = re.compile(r"([^~]{1,6})~\d+(\.[^.]{0,3})?")  # NTFS's and FAT's second name of a file

_REASONS = {
    "its hooks and settings run programs": ".git .gitmodules .gitconfig .hg .hgrc .svn .bzr _darcs .jj",
    "an editor runs what it says": (
        ".vscode .idea .fleet .zed .cursor .devcontainer .devcontainer.json .theia .vs .sublime-project"
        " .exrc .vimrc .nvimrc .nvim.lua .gvimrc .vim .emacs .emacs.d .dir-locals.el .spacemacs .nanorc"
    ),
    "a shell runs it when the folder is entered": (
        ".envrc .direnv .env .autoenv .autoenv.zsh mise.toml .mise.toml .tool-versions .rtx.toml"
    ),
    "a shell or a desktop runs it at its start": (
        ".profile .bashrc .bash_profile .bash_login .bash_logout .bash_aliases .bash_completion"
        " .zshrc .zshenv"
        " .zprofile .zlogin .zlogout .kshrc .mkshrc .shrc .shinit .cshrc .tcshrc .login .logout .inputrc"
        " .xprofile .xinitrc .xsession .xsessionrc .xserverrc .xresources .pam_environment .tmux.conf"
        " .screenrc"
        " .config .local .bin autostart launchagents launchdaemons autorun.inf desktop.ini"
    ),
    "it opens logins": (
        ".ssh .gnupg .netrc .aws .azure .kube .docker .rhosts .shosts .forward .pgpass authorized_keys"
        " authorized_keys2"
    ),
    "Python runs it": (
        "sitecustomize.py usercustomize.py conftest.py __pycache__ pyvenv.cfg .venv .pdbrc .pdbrc.py"
        " .pythonrc .pythonrc.py .pythonstartup .pylintrc pylintrc matplotlibrc .pydistutils.cfg .pypirc .pip"
        " .condarc"
    ),
    "Jupyter or IPython runs it": ".ipython .jupyter ipython_config.py ipython_kernel_config.py",
    "a program runs it at its start": (
        ".npmrc .yarnrc .yarnrc.yml .pnp.cjs .cargo .rustup .gem .bundle .irbrc .pryrc .rprofile .renviron"
        " .rprofile.site .juliarc.jl .julia .gdbinit .lldbinit .sqliterc .psqlrc .mylogin.cnf .my.cnf .wgetrc"
        " .curlrc .ackrc .mailcap .procmailrc .xmodmaprc"
    ),
    "it would set what gpunb does in its folder": "gpunb.toml",
}
_WHY = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_SUFFIXES = {
    ".pth": "Python runs it",
    ".pyc": "Python runs it in the place of its source",
    ".pyo": "Python runs it in the place of its source",
    ".desktop": "a desktop runs it",
    ".code-workspace": "an editor runs what it says",
    ".lnk": "a desktop runs it",
}
_JUPYTER = re.compile(r"jupyter_?\w*config\.(py|json)")


@lru_cache(maxsize=10_000)
def canonical(name: str) -> str:
    """Fold the name as the least exact file system does: case, normal form, ignored characters."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name.translate(_IGNORED)).casefold())
    name = name.lower()
    if len(name) > 1 and ":" in name[1:]:  # a stream of NTFS: `.git::$INDEX_ALLOCATION` is `.git`
        name = name[: name.index(":", 1)]
    return name.rstrip(". ") or name


@lru_cache(maxsize=10_000)
def why(name: str) -> str | None:
    """The reason why a file or folder of this name could run on this machine; None if it could not."""
    plain = canonical(name)
    result = _WHY.get(plain)
    if result is None:
        result = next((reason for end, reason in _SUFFIXES.items() if plain.endswith(end)), None)
    if result is None and _JUPYTER.fullmatch(plain):
        result = "Jupyter or IPython runs it"
    if result is None and "~" in plain:
        result = next((_WHY[one] for one in _WHY if _is_short_for(plain, one)), None)
    return result


def is_git(name: str) -> bool:
    """Whether any file system reads `name` as ``.git``."""
    return canonical(name) == ".git" or _is_short_for(canonical(name), ".git")


def _is_short_for(plain: str, one: str) -> bool:
    """Whether `plain` is NTFS's short name of `one`: ``git~1`` of ``.git``."""
    found = _SHORT.fullmatch(plain)
    if found is None:
        return False
    stem, _, end = one.lstrip(".").partition(".")
    whole = len(one.lstrip(".")) <= 8 and not one.startswith(".")
    if whole or (found.group(2) or "")[1:] != end[:3]:
        return False
    first = found.group(1)
    return stem.startswith(first) and len(first) >= min(6, len(stem))


def names_something(pattern: str) -> bool:
    """Whether an include pattern names more than "everything": ``*`` alone does not include held files."""
    return bool(re.sub(r"[*?/\[\]!.\s-]", "", pattern))


def held_note(left_out: Iterable[LeftOut], most: int = 6, *, option: str = "--include {!r}") -> str:
    """The note on files that were held back, and the `option` that includes them; "" if there are none."""
    held = [one for one in left_out if one.rule.startswith(HELD)]
    if not held:
        return ""
    shown = ", ".join(f"{_printable(one.path)} ({one.rule.removeprefix(HELD)})" for one in held[:most])
    more = f" and {len(held) - most} more" if len(held) > most else ""
    return (
        f"held back, for it could run on this side: {shown}{more}; "
        f"to take it: {option.format(_printable(held[0].path))}"
    )


def _printable(name: str) -> str:
    """Replace unprintable characters, such as terminal escapes, in a host's name."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:200])
