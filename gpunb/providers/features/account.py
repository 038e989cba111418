"""Optional features of a cloud's account: terms, keys, variables, invoices, audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpunb.providers.features.asking import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import SecretStr


__all__ = [
    "ApiKey",
    "ApiKeys",
    "AttachedKey",
    "AuditEntry",
    "InstanceKeys",
    "Invoice",
    "Papers",
    "ScopedKeys",
    "SignedCalls",
    "SshKeys",
    "Terms",
    "Variables",
]


@lacking("show terms to accept here")
@runtime_checkable
class Terms(Protocol):
    """Terms that must be accepted before the first rental (the setting ``accept_terms`` of the cloud)."""

    @classmethod
    def terms(cls) -> str:
        """Return their text, as the cloud words it."""


@lacking("make a key that may do less")
@runtime_checkable
class ScopedKeys(Protocol):
    """API keys limited to the permissions that gpunb needs."""

    def create_scoped_key(self, name: str = "gpunb", more: Sequence[str] = ()) -> SecretStr:
        """Make a key, with the cloud's permissions `more` too; it is shown once. Never sent twice."""


class ApiKey(Protocol):
    """An API key of the account, without the secret; `permissions` are named as the cloud does."""

    id: int
    name: str
    permissions: Any


@lacking("list its API keys")
@runtime_checkable
class ApiKeys(Protocol):
    """The account's API keys."""

    def api_keys(self) -> Sequence[ApiKey]:
        """List all keys, never with the secret."""

    def delete_api_key(self, key_id: int) -> None:
        """Revoke a key."""


@lacking("list its SSH keys")
@runtime_checkable
class SshKeys(Protocol):
    """The account's SSH keys, which machines that are rented later get."""

    def ssh_keys(self) -> Sequence[Any]:
        """List the keys' records as the cloud has them: id or fingerprint, name, public half."""

    def delete_ssh_key(self, key_id: str, /) -> None:
        """Remove a key; running machines keep it."""


class AttachedKey(Protocol):
    """An SSH key of one instance."""

    id: int

    @property
    def line(self) -> str:
        """The public half, one OpenSSH line."""


@lacking("show the keys of an instance")
@runtime_checkable
class InstanceKeys(Protocol):
    """The SSH keys that the cloud keeps on one instance."""

    def attached_keys(self, instance_id: str) -> Sequence[AttachedKey]:
        """List the keys of an instance."""

    def attach_key(self, instance_id: str, public_key: str) -> None:
        """Let one more key log in; one that is there already is fine."""

    def detach_key(self, instance_id: str, key_id: int) -> None:
        """Remove a key."""


@lacking("keep variables for an account")
@runtime_checkable
class Variables(Protocol):
    """Environment variables that every container of the account gets; every host can read them."""

    def env_vars(self) -> Mapping[str, SecretStr]:
        """List all variables."""

    def set_env_var(self, name: str, value: SecretStr) -> str:
        """Set a variable; return its name as the cloud stores it."""

    def delete_env_var(self, name: str) -> None:
        """Delete a variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A payment into an account, or out of it other than for a machine's time.

    Attributes
    ----------
    usd
        US dollars; above 0 what came in.
    at
        Unix time, in seconds; None where the cloud does not say.
    kind
        The cloud's word: ``credit``, ``transfer``, ``reserved`` …
    """

    provider: str
    id: str
    at: float | None
    kind: str
    usd: float
    source: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An audit log entry: one call that changed something of the account, by any program.

    Attributes
    ----------
    what
        Method and path. The call's arguments are left out: they can hold keys.
    """

    provider: str
    at: float | None
    what: str
    address: str = ""
    key_id: str = ""


@lacking("show invoices and an audit log")
@runtime_checkable
class Papers(Protocol):
    """Invoices and an audit log of an account."""

    def invoices(self, *, since: float, until: float) -> Sequence[Invoice]:
        """Return the invoices from `since` to `until` (Unix time, in seconds), the oldest first."""

    def audit_log(self, *, since: float) -> Sequence[AuditEntry]:
        """Return the changes from `since` on, the newest first."""


@lacking("call here about events, signed")
@runtime_checkable
class SignedCalls(Protocol):
    """Calls of the cloud to an address of the user's about events, signed with a shared secret."""

    @classmethod
    def call_headers(cls, secret: str, body: bytes, at: float) -> dict[str, str]:
        """Return the headers that sign `body` at `at` (Unix time, in seconds)."""

    @classmethod
    def call_mark(
        cls, secret: str, body: bytes, headers: Mapping[str, str], *, now: float
    ) -> tuple[str, float] | None:
        """Return the call's own mark and until when it is taken (Unix time); None if not signed and recent.

        Names of `headers` are in lower case.
        """
