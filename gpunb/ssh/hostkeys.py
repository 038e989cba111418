"""Pinned host keys, in OpenSSH's known_hosts format, keyed by the endpoint's alias.

The system's ssh reads the same file with ``HostKeyAlias`` and
``StrictHostKeyChecking=yes``, so both always agree.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, HostError, HostKeyChanged, LedgerUnwritable
from gpunb.hints import typed
from gpunb.paths import private_dir, write_private
from gpunb.ssh.keys import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check", "pin", "pinned", "repin", "way_on"]

_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def pinned(path: Path, alias: str) -> list[str]:
    """Return the keys pinned for `alias`, each as ``"type base64"``, in the file's order.

    Raises
    ------
    HostError
        The file holds a line that is not a known_hosts line. A pin that can't
        be read must not turn into "no pin".
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as err:
        raise _damaged(path, "it can't be read") from err
    result = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) < 3:
            raise _damaged(path, f"line {number} has {len(fields)} fields, a host key has at least 3")
        key = _public_key(" ".join(fields[1:3]))
        if key is None:
            raise _damaged(path, f"line {number} holds no key")
        if alias in fields[0].split(","):
            result.append(key)
    return result


def pin(path: Path, alias: str, line: str) -> None:
    """Pin the key `line` for the host behind `alias`.

    Parameters
    ----------
    line
        A public line as in ``ssh_host_ed25519_key.pub``; a comment is dropped.

    Raises
    ------
    BadInput
        `alias` or `line` is not of its form.
    HostKeyChanged
        Another key of the same type is pinned already.
    """
    if not _ALIAS.fullmatch(alias):
        msg = f"alias {alias!r}: letters, digits, dot, dash and underscore only"
        raise BadInput(msg)
    key = _public_key(line)
    if key is None:
        msg = f"host key {line!r}: must be a public line like 'ssh-ed25519 AAAA...'"
        raise BadInput(msg)
    try:
        with _locked(path):
            known = pinned(path, alias)
            if key in known:
                return
            same_type = [k for k in known if k.split()[0] == key.split()[0]]
            if same_type:
                raise _changed(alias, same_type, key)
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            if old and not old.endswith("\n"):
                old += "\n"
            write_private(path, f"{old}{alias} {key}\n".encode())
    except OSError as err:
        raise _unkept(path, err) from err


def repin(path: Path, alias: str, line: str) -> None:
    """Pin `line` as the only key of the host behind `alias`; raises like `pin`."""
    try:
        with _locked(path):
            kept = [
                f"{known}\n"
                for known in (path.read_text(encoding="utf-8").splitlines() if path.exists() else [])
                if alias not in known.split(" ", 1)[0].split(",")
            ]
            write_private(path, "".join(kept).encode())
    except OSError as err:
        raise _unkept(path, err) from err
    pin(path, alias, line)


def check(path: Path, alias: str, line: str) -> bool:
    """Whether the host's key `line` is the pinned one; false if none is pinned yet.

    Raises
    ------
    HostKeyChanged
        Something else is pinned.
    """
    known = pinned(path, alias)
    key = _public_key(line)
    if not known:
        return False
    if key in known:
        return True
    raise _changed(alias, known, key or line)


def _changed(alias: str, known: list[str], shown: str) -> HostKeyChanged:
    name = alias.removeprefix("gpunb-")
    was = ", ".join(_named(k) for k in known)
    msg = (
        f"the host of {alias} shows another key ({_named(shown)}) than the pinned one"
        f" ({was}): the provider reinstalled the machine, another machine has this address now, or one"
        " answers in its place; gpunb did not log in and sent nothing"
    )
    return HostKeyChanged(
        msg, shown=shown, bill="the instance may still run and be billed", hint=way_on(name, shown)
    )


def way_on(name: str, shown: str) -> str:
    """The hint for a changed key: the user must compare it with the provider's console."""
    return (
        "compare it with what the provider's console shows of the machine (`"
        + typed("show", name)
        + "`): if it is the same, `"
        + typed("trust", name, "--host-key", fingerprint(shown))
        + "`; if not, `"
        + typed("down", name)
        + "`"
    )


def _unkept(path: Path, err: OSError) -> LedgerUnwritable:
    msg = f"the host key can't be kept in {path}: {err.strerror}"
    return LedgerUnwritable(msg, hint="free or unlock the folder, or set GPUNB_HOME")


def _named(line: str) -> str:
    return f"{line.split(maxsplit=1)[0]} {fingerprint(line)}"


def _damaged(path: Path, what: str) -> HostError:
    msg = f"the pinned host keys in {path} are damaged: {what}; gpunb does not connect without them"
    return HostError(
        msg,
        bill="the instance may still run and be billed",
        hint="restore the file, or end the session with `" + typed("down NAME") + "`",
    )


def _public_key(line: str) -> str | None:
    """Return ``"type base64"`` of a public line whose blob has the same type, else None."""
    fields = line.split()
    if len(fields) < 2:
        return None
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    size = int.from_bytes(blob[:4], "big")
    if len(blob) <= 4 + size or blob[4 : 4 + size] != fields[0].encode():
        return None
    return f"{fields[0]} {fields[1]}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file, so that two first contacts at once keep each other's pin."""
    private_dir(path.parent)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
