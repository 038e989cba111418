"""Paths of gpunb's files. No heavy imports: every verb imports this module.

``GPUNB_HOME`` overrides the platform's data folder (platformdirs), for the
whole of it: ledger, sessions, settings, logs and local instances.
``GPUNB_LEDGER`` overrides the ledger alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gpunb.errors import LedgerUnwritable, SettingsError

__all__ = [
    "FILE_NAME",
    "config_file",
    "home",
    "ledger_file",
    "local_dir",
    "log_file",
    "not_ours",
    "private_dir",
    "private_opener",
    "project_file",
    "real_ledger_file",
    "session_dir",
    "settings_have",
    "sim_dir",
    "simulation",
    "ssh_dir",
    "unlock_hint",
    "write_private",
]

FILE_NAME = "gpunb.toml"


def home() -> Path:
    """The folder of all files that gpunb stores for this user (not created).

    Raises
    ------
    SettingsError
        It belongs to another user, or others may write to it.
    """
    override = os.environ.get("GPUNB_HOME")
    if override:
        path = Path(override).expanduser().absolute()
    else:
        from platformdirs import user_data_path

        path = user_data_path("gpunb", appauthor=False)
    why = not_ours(path)
    if why:
        named = "GPUNB_HOME" if override else "gpunb's folder"
        msg = f"{named} {path} can't be trusted: {why}, who could read your keys and change what is rented"
        raise SettingsError(
            msg,
            bill="nothing was rented or changed",
            hint=_remedy(path, "set GPUNB_HOME to a folder of your own"),
        )
    return path


def not_ours(path: Path) -> str:
    """Why other users may write to `path`; "" if none may, or if it does not exist.

    Files and folders must belong to this user (or to root), and neither all others nor a group of
    several may write to them.
    """
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return ""
    user = os.geteuid()
    if facts.st_uid not in {user, 0}:
        return f"it belongs to another user ({_user_name(facts.st_uid)})"
    if facts.st_mode & 0o002:
        return f"others may write to it (mode {facts.st_mode & 0o777:o})"
    # a group of one's own has the user's number, where the system makes such (umask 002)
    if facts.st_mode & 0o020 and facts.st_gid not in {0, user}:
        return f"its group may write to it (mode {facts.st_mode & 0o777:o})"
    return ""


def _remedy(path: Path, otherwise: str) -> str:
    return f"chmod go-w {path}, or {otherwise}" if path.stat().st_uid == os.geteuid() else otherwise


def _user_name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"number {uid}"


def private_dir(path: Path) -> Path:
    """Make `path` with mode 0700 (parents too, as needed) and return it.

    Raises
    ------
    LedgerUnwritable
        The folder can't be made: read-only, full, or a file stands there.
    """
    try:
        # parents=True would make those with the umask's mode, open to others
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
        if not path.is_dir():
            path.mkdir()  # its error says what is there
    except OSError as err:
        msg = f"gpunb can't create its folder {path}: {err.strerror}"
        raise LedgerUnwritable(msg, bill="nothing was rented", hint=unlock_hint(path)) from err
    return path


def unlock_hint(path: Path) -> str:
    """A hint for a folder that can't be written; it suggests another home only if there is no ledger."""
    free = f"make room on its disk (df -h {path.parent}), or let it be written again"
    try:
        used = ledger_file().stat().st_size > 0
    except OSError:
        used = False
    return free if used else f"{free}, or set GPUNB_HOME to a folder that you can write to"


def write_private(path: Path, text: str | bytes, *, replace: bool = True) -> None:
    """Write `path` whole or not at all, mode 0600; after a crash it is the old or the new one.

    With `replace` false an existing file wins: the first of two writers.

    Raises
    ------
    OSError
        The folder is read-only or full; the old file is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            beside.replace(path)
            return
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink(missing_ok=True)


def private_opener(path: str, flags: int) -> int:
    """An opener for `open`: a new file is readable and writable by this user alone, whatever the umask."""
    return os.open(path, flags, 0o600)


def ledger_file() -> Path:
    """The SQLite file of sessions, intents, costs and receipts.

    While simulated clouds stand in for the real ones it is another one: asking a simulated
    cloud for a real instance would answer "gone", and its bill would be forgotten.
    """
    override = os.environ.get("GPUNB_LEDGER")
    if override:
        path = Path(override).expanduser().absolute()
        why = not_ours(path)
        if why:
            msg = f"GPUNB_LEDGER {path} can't be trusted: {why}, who could change what is rented and ended"
            remedy = _remedy(path, "set GPUNB_LEDGER to a file of your own")
            raise SettingsError(msg, bill="nothing was rented or changed", hint=remedy)
        return path
    return sim_dir() / "ledger.sqlite" if simulation() else real_ledger_file()


def real_ledger_file() -> Path:
    """The ledger of the real clouds, whatever is simulated."""
    return home() / "ledger.sqlite"


def sim_dir() -> Path:
    """The folder of the simulated clouds: their marker, log, hosts and ledger."""
    return home() / "sim"


def simulation() -> dict[str, dict[str, Any]] | None:
    """The simulated clouds of ``gpunb sim up``, by provider; None without a simulation.

    The marker counts while its process lives.
    """
    providers: dict[str, dict[str, Any]] = {}
    try:
        data = json.loads((sim_dir() / "clouds.json").read_bytes())
        if not data["active"]:
            return None
        providers = {str(name): dict(one) for name, one in data["providers"].items()}
        os.kill(int(data["pid"]), 0)
    except PermissionError:  # it runs, as another user
        return providers or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return providers or None


def session_dir(session_id: str) -> Path:
    """The private folder of one session: keys, pinned host key, caches."""
    return home() / "sessions" / session_id


def local_dir() -> Path:
    """The folder of the ``local`` provider's instances."""
    return home() / "local"


def ssh_dir() -> Path:
    """The folder of the ``ssh`` provider's instances: what was begun on which machine."""
    return home() / "ssh"


def log_file() -> Path:
    """The rotated log file."""
    return home() / "log" / "gpunb.log"


def config_file() -> Path:
    """The user's settings file."""
    if os.environ.get("GPUNB_HOME"):
        return home() / "gpunb.toml"
    from platformdirs import user_config_path

    return user_config_path("gpunb", appauthor=False) / "gpunb.toml"


def project_file(cwd: Path | None = None) -> Path | None:
    """The nearest ``gpunb.toml`` in `cwd` or a folder above it, or None."""
    try:
        here = (cwd or Path.cwd()).absolute()
    except FileNotFoundError:  # the working folder was deleted
        return None
    for folder in (here, *here.parents):
        path = folder / FILE_NAME
        if path.is_file() and path != config_file():
            return path
    return None


def settings_have(word: str) -> bool:
    """Whether a settings file or a variable contains `word`; True if one can't be read. No pydantic."""
    if any(name.upper().startswith("GPUNB_") and word in name.lower() for name in os.environ):
        return True
    try:
        return any(
            word.encode() in file.read_bytes()
            for file in (config_file(), project_file())
            if file and file.exists()
        )
    except OSError:
        return True
