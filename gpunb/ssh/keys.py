"""Session key pairs: ed25519, separate from the user's ``~/.ssh``."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, HostError, LedgerUnwritable
from gpunb.paths import private_dir, write_private

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["KeyPair", "fingerprint", "generate", "generate_host_key"]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair on disk; `public_line` goes into ``authorized_keys``."""

    private: Path
    public: Path
    public_line: str


def generate(directory: Path, *, comment: str) -> KeyPair:
    """Create or load the key pair ``id_ed25519`` in `directory`.

    The folder gets mode 0700 and the files 0600. A second call, also one of
    another process at the same time, returns the same pair.

    Parameters
    ----------
    directory
        The session's private folder; made if it is not there.
    comment
        Ends the public line; one line of text.

    Raises
    ------
    BadInput
        `comment` holds a line break or another control character.
    HostError
        A private key is there but can't be read; it is left as it is.
    LedgerUnwritable
        The folder can't be made or written.
    """
    if not comment.isprintable():
        msg = f"comment {comment!r}: a key's comment is one line of printable text"
        raise BadInput(msg)
    private_dir(directory)
    private, public = directory / "id_ed25519", directory / "id_ed25519.pub"
    try:
        directory.chmod(0o700)
        if not private.exists():
            write_private(private, _new_pem(), replace=False)
        line = f"{_public_half(private)} {comment}".rstrip()
        if _read_line(public) != line:
            write_private(public, f"{line}\n".encode())
    except OSError as err:
        msg = f"the session's key can't be kept in {directory}: {err.strerror}"
        raise LedgerUnwritable(msg, hint="free or unlock the folder, or set GPUNB_HOME") from err
    return KeyPair(private, public, line)


def generate_host_key() -> tuple[str, str]:
    """Create an ed25519 host key: its OpenSSH private text and its public line.

    For clouds that let us inject a host key at creation, so that it is known
    before the first contact.
    """
    key = _new_key()
    return _private_text(key).decode(), _public_text(key)


def fingerprint(public_line: str) -> str:
    """Return the OpenSSH fingerprint (``SHA256:...``) of a public line."""
    blob = base64.b64decode(public_line.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _new_key() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _private_text(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as ser

    return key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption())


def _public_text(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization as ser

    return key.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH).decode()


def _new_pem() -> bytes:
    return _private_text(_new_key())


def _public_half(private: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    problem: Exception | None = None
    try:
        key = load_ssh_private_key(private.read_bytes(), password=None)
        if isinstance(key, Ed25519PrivateKey):
            private.chmod(0o600)
            return _public_text(key)
    except ValueError as err:
        problem = err
    msg = f"{private} is not an ed25519 private key"
    raise HostError(
        msg,
        bill="the session is not touched",
        hint="restore the file from a backup; without it this session's host can't be entered",
    ) from problem


def _read_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
