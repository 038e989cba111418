"""Where gpunb keeps its files. No heavy imports: every verb passes here.

``GPUNB_HOME`` overrides the platform's data folder (platformdirs), for the
whole of it: ledger, sessions, settings, logs and local instances.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpunb.errors import LedgerUnwritable

__all__ = ["config_file", "home", "ledger_file", "local_dir", "log_file", "private_dir", "session_dir"]


def home() -> Path:
    """The folder of everything that gpunb stores for this user (not created)."""
    override = os.environ.get("GPUNB_HOME")
    if override:
        return Path(override).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("gpunb", appauthor=False)


def private_dir(path: Path) -> Path:
    """Make `path` with mode 0700 (parents too, as needed) and return it.

    Raises
    ------
    LedgerUnwritable
        The folder can't be made: read-only, full, or a file stands there.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        msg = f"gpunb can't create its folder {path}: {err.strerror}"
        raise LedgerUnwritable(
            msg,
            bill="nothing was rented",
            hint="free or unlock the folder, or set GPUNB_HOME to one that you can write to",
        ) from err
    return path


def ledger_file() -> Path:
    """The SQLite file of sessions, intents, costs and receipts."""
    return home() / "ledger.sqlite"


def session_dir(session_id: str) -> Path:
    """The private folder of one session: keys, pinned host key, caches."""
    return home() / "sessions" / session_id


def local_dir() -> Path:
    """The folder of the ``local`` provider's instances."""
    return home() / "local"


def log_file() -> Path:
    """The rotated log file."""
    return home() / "log" / "gpunb.log"


def config_file() -> Path:
    """The user's settings file."""
    if os.environ.get("GPUNB_HOME"):
        return home() / "gpunb.toml"
    from platformdirs import user_config_path

    return user_config_path("gpunb", appauthor=False) / "gpunb.toml"
