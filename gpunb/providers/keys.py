"""Storage of the clouds' keys: environment, the system's keyring, or a private file.

A key is looked up in that order, each time it is needed, and is a
``SecretStr`` from there on. It never reaches a host, a notebook or a log.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gpunb import log, paths
from gpunb.errors import BadInput, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pydantic import SecretStr

    from gpunb.settings import Settings

__all__ = [
    "LOCAL",
    "SSH",
    "FoundKey",
    "asked",
    "delete",
    "find",
    "has_key",
    "key_file",
    "store",
    "variable",
]

LOCAL = "local"  # this machine: a cloud that needs no key
SSH = "ssh"  # the user's own machines, which are listed instead
_SERVICE = "gpunb"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key and where it was found, as text for the user."""

    key: SecretStr
    source: str


def variable(provider: str) -> str:
    """Return the environment variable that overrides the stored key of `provider`, as its class names it."""
    from gpunb.providers import provider_class

    with contextlib.suppress(BadInput):  # not installed, or broken: a call to that cloud gets the error
        if named := provider_class(provider).key_variable:
            return named
    return re.sub(r"\W", "_", provider).upper() + "_API_KEY"


def key_file(provider: str) -> Path:
    """Return the file that holds the key where there is no keyring (it may not exist)."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", provider):
        msg = f"provider {provider!r} is not a name of small letters, digits, '-', '_' and '.'"
        raise BadInput(msg)
    return paths.home() / "keys" / provider


def find(provider: str, env: str | None = None) -> FoundKey | None:
    """Find the key of `provider`: environment, then keyring, then file; None if there is none.

    Parameters
    ----------
    env
        The environment variable to look at, instead of `variable`'s.

    Raises
    ------
    SettingsError
        The key file is there, but others may read it, or it can't be read.
    """
    name = env or variable(provider)
    value = os.environ.get(name, "").strip()
    if value:
        return _found(value, f"environment variable {name}")
    ring = _keyring()
    if ring is not None:
        value = (_ask(ring, "get_password", provider) or "").strip()
        if value:
            return _found(value, f"system keyring ({_ring_name(ring)})")
    value = _read(key_file(provider))
    return _found(value, f"file {key_file(provider)}") if value else None


def asked(settings: Settings, installed: Sequence[str]) -> list[str]:
    """Return the clouds to ask: those of the setting ``clouds``, or those `installed` that it implies.

    ``"all"`` is every one; ``"auto"`` those that have a key, and ``local`` where none has.
    """
    if "all" in settings.clouds:
        return list(installed)
    keyed = [name for name in installed if name != LOCAL and has_key(settings, name)]
    out: list[str] = []
    for name in settings.clouds:
        out += (keyed or [LOCAL]) if name == "auto" else [name]
    return list(dict.fromkeys(out))


def has_key(settings: Settings, name: str) -> bool:
    """Return whether the cloud called `name` has a key, a simulated one too."""
    if settings.provider(name)["key"] is not None or name in settings.simulated:
        return True
    if name == SSH:  # its machines stand for a key
        return bool(settings.provider(name)["options"].get("hosts"))
    try:
        return find(name) is not None
    except SettingsError:
        return True  # a call to that cloud gets the error


def store(provider: str, value: str) -> str:
    """Store the key `value`; return where, as text for the user.

    Raises
    ------
    BadInput
        The key is empty, or holds blanks or line ends.
    LedgerUnwritable, SettingsError
        It can't be written.
    """
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        msg = f"the key of {provider} must be one word of plain signs; what was given is not"
        raise BadInput(msg, hint="copy it again from the cloud's page of keys")
    file = key_file(provider)
    ring = _keyring()
    if ring is not None and _put(ring, provider, value):
        file.unlink(missing_ok=True)  # an older copy must not come back later
        return f"system keyring ({_ring_name(ring)})"
    _write(file, value)
    return f"file {file} (mode 0600, there is no system keyring here)"


def delete(provider: str) -> list[str]:
    """Delete the stored key; return the places from which it was removed."""
    gone: list[str] = []
    ring = _keyring()
    if ring is not None and _ask(ring, "get_password", provider):
        _ask(ring, "delete_password", provider)
        gone.append(f"system keyring ({_ring_name(ring)})")
    file = key_file(provider)
    if file.is_file():
        file.unlink()
        gone.append(f"file {file}")
    return gone


def _found(value: str, source: str) -> FoundKey:
    from pydantic import SecretStr

    from gpunb import log

    log.add_secret(value)
    return FoundKey(SecretStr(value), source)


def _keyring() -> Any | None:
    """Return the usable backend of the system's keyring, or None."""
    return _within(_backend)


def _backend() -> Any | None:
    import keyring

    ring = keyring.get_keyring()
    return ring if ring.priority > 0 else None


# A keyring may ask the user for its password, or hang with its service, and a supervisor has no user to
# answer: after so long it counts as unusable, for a while also for later calls.
PATIENCE_S = 60.0
REST_S = 300.0
_given_up = 0.0  # when (monotonic) it may be called again


def _within(ask: Callable[[], _T]) -> _T | None:
    """Return the result of `ask`; None if it fails in any way, or does not return in time."""
    global _given_up  # noqa: PLW0603 - one system, one keyring
    if time.monotonic() < _given_up:
        return None
    out: list[_T] = []

    def work() -> None:
        with contextlib.suppress(Exception, SystemExit):  # backends raise what their libraries do
            out.append(ask())

    thread = threading.Thread(target=work, name="gpunb-keyring", daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if thread.is_alive():
        _given_up = time.monotonic() + REST_S
        log.get(__name__).warning("the system's keyring did not answer for %.0f s", PATIENCE_S)
    return out[0] if out else None


def _ring_name(ring: Any) -> str:
    return str(getattr(ring, "name", type(ring).__name__))


def _ask(ring: Any, method: str, provider: str) -> str | None:
    """Call the keyring; one that is locked, broken or silent counts as none."""
    answer: Any = _within(lambda: getattr(ring, method)(_SERVICE, provider))
    return answer if isinstance(answer, str) else None


def _put(ring: Any, provider: str, value: str) -> bool:
    _within(lambda: ring.set_password(_SERVICE, provider, value))
    return _ask(ring, "get_password", provider) == value


def _read(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            msg = f"key file {file} has mode {stat.S_IMODE(mode):04o}; others may read it"
            raise SettingsError(msg, hint=f"chmod 600 {file}, and think of making a new key")
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as err:
        msg = f"key file {file} can't be read: {err}"
        raise SettingsError(msg) from err


def _write(file: Path, value: str) -> None:
    paths.private_dir(file.parent)
    try:
        paths.write_private(file, value + "\n")
    except OSError as err:
        msg = f"key file {file} can't be written: {err.strerror or err}"
        raise SettingsError(msg) from err
