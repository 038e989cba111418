"""What was begun on which machine: a file for each instance, written before anything is sent there."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from gpunb import paths
from gpunb.errors import BadInput, LedgerUnwritable, Unavailable

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from gpunb.providers.base import CreateSpec, Offer
    from gpunb.providers.features import Host

__all__ = ["Record", "begun", "leftover", "load_all", "owner"]

_ID = re.compile(r"[a-z0-9]{10}\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+( .*)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True, kw_only=True)
class Record:
    """One instance: a session's key and folder on a machine.

    Attributes
    ----------
    phase
        "creating", "running" or "ending".
    machine, address, port
        The machine's name, and what is given to ssh for it (port 0: as configured).
    key
        The public key that lets the session in, without its comment.
    host_key
        The machine's host key as the user's known_hosts has it; "" if it is in none.
    identity
        The folder here with the session's private key and host key; "" if there is no session.
    gpus
        The numbers of the GPUs that it was given; None on a machine without any.
    """

    id: str
    label: str
    phase: str
    machine: str
    address: str
    port: int = 0
    key: str = ""
    host_key: str = ""
    identity: str = ""
    usd_h: float = 0.0
    created: float = 0.0
    gpus: list[int] | None = None

    @property
    def _file(self) -> Path:
        return paths.ssh_dir() / f"{self.id}.json"

    def save(self) -> None:
        """Write it.

        Raises
        ------
        Unavailable
            The folder is full or can't be written.
        """
        try:
            paths.private_dir(paths.ssh_dir())
            paths.write_private(self._file, json.dumps(asdict(self), indent=1) + "\n")
        except LedgerUnwritable as err:
            raise Unavailable(err.message, provider="ssh", bill=err.bill, hint=err.hint) from err
        except OSError as err:
            msg = f"{self._file} can't be written: {err.strerror}"
            raise Unavailable(msg, provider="ssh", hint="make room there, or set GPUNB_HOME") from err

    def delete(self) -> None:
        """Forget it: its end is confirmed, or nothing was sent."""
        self._file.unlink(missing_ok=True)


def begun(offer: Offer, host: Host, spec: CreateSpec) -> Record:
    """The record of a create that is to be sent now; raises `BadInput` for what would not arrive as it is."""
    nothing = "nothing was rented"
    if not _LABEL.fullmatch(spec.label):
        msg = f"label {spec.label!r}: letters, digits, '.', '_' and '-', at most 100"
        raise BadInput(msg, bill=nothing)
    if not _KEY.fullmatch(spec.public_key.strip()):
        msg = f"public_key {spec.public_key[:60]!r}: must be one line as in id_ed25519.pub"
        raise BadInput(msg, bill=nothing)
    for name, value in spec.env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            msg = f"env {name!r}: a name has letters, digits and '_', and a value no zero byte"
            raise BadInput(msg, bill=nothing)
    given = offer.raw.get("given")
    return Record(
        id=secrets.token_hex(5),
        label=spec.label,
        phase="creating",
        machine=host.name,
        address=host.address,
        port=host.port,
        key=" ".join(spec.public_key.split()[:2]),
        identity=str(spec.identity or ""),
        usd_h=offer.usd_h,
        created=time.time(),
        gpus=None if given is None else list(given),
    )


def owner() -> str:
    """What marks the folders on machines whose records are kept here; made at the first call.

    Raises
    ------
    Unavailable
        It can't be read or written.
    """
    file = paths.ssh_dir() / "owner"
    try:
        paths.private_dir(paths.ssh_dir())
        with suppress(FileExistsError):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as made:
                made.write(secrets.token_hex(8))
        return file.read_text("ascii").strip()
    except (OSError, ValueError, LedgerUnwritable) as err:
        msg = f"{file} can't be used: {getattr(err, 'strerror', None) or err}"
        raise Unavailable(msg, provider="ssh", hint="make room there, or set GPUNB_HOME") from err


def leftover(ident: str, label: str, by: str, known: Container[str]) -> bool:
    """Whether a folder on a machine is of this installation, which knows nothing of it any more."""
    mine = bool(by) and by == owner() and ident not in known
    return mine and bool(_ID.match(ident) and _LABEL.fullmatch(label))


def load_all() -> list[Record]:
    """All instances, oldest first.

    Raises
    ------
    Unavailable
        A file can't be read or is damaged: an instance that can't be read must not count as none.
    """
    try:
        files = [
            path for path in paths.ssh_dir().iterdir() if path.suffix == ".json" and _ID.match(path.stem)
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as err:
        msg = f"{paths.ssh_dir()} can't be read: {err.strerror}"
        raise Unavailable(msg, provider="ssh") from err
    found = []
    for file in files:
        with suppress(FileNotFoundError):  # it ended in the meantime
            found.append(_load(file))
    return sorted(found, key=lambda one: (one.created, one.id))


def _load(file: Path) -> Record:
    try:
        value: Any = json.loads(file.read_text("utf-8"))
        known = {field.name for field in fields(Record)}
        return Record(**{name: one for name, one in value.items() if name in known})
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as err:
        msg = f"the file of an instance, {file}, can't be read: {err}"
        hint = "it names the machine; end what is there by hand, then delete the file"
        raise Unavailable(msg, provider="ssh", hint=hint) from err
