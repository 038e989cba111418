"""What only some clouds show or keep of an account."""

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
        """Their text, as the cloud words it."""


@lacking("make a key that may do less")
@runtime_checkable
class ScopedKeys(Protocol):
    """Keys that may do no more than gpunb needs."""

    def create_scoped_key(self, name: str = "gpunb", more: Sequence[str] = ()) -> SecretStr:
        """Make one that may do `more`, in the cloud's words, too; it is shown this once. Never sent twice."""


class ApiKey(Protocol):
    """A key of the account, without the key itself; `permissions` in the cloud's words."""

    id: int
    name: str
    permissions: Any


@lacking("list its API keys")
@runtime_checkable
class ApiKeys(Protocol):
    """The account's API keys."""

    def api_keys(self) -> Sequence[ApiKey]:
        """All, never with the secret."""

    def delete_api_key(self, key_id: int) -> None:
        """Revoke one."""


@lacking("list its SSH keys")
@runtime_checkable
class SshKeys(Protocol):
    """The account's SSH keys: machines that are rented later get them."""

    def ssh_keys(self) -> Sequence[Any]:
        """Their records as the cloud words them: id or fingerprint, name, public half."""

    def delete_ssh_key(self, key_id: str, /) -> None:
        """Remove one; machines that run keep it."""


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
        """All of them."""

    def attach_key(self, instance_id: str, public_key: str) -> None:
        """Let one more log in; one that is there already is fine."""

    def detach_key(self, instance_id: str, key_id: int) -> None:
        """Take one off."""


@lacking("keep variables for an account")
@runtime_checkable
class Variables(Protocol):
    """Variables that every container of the account is given, and every host reads."""

    def env_vars(self) -> Mapping[str, SecretStr]:
        """All of them."""

    def set_env_var(self, name: str, value: SecretStr) -> str:
        """Set one; returns its name as the cloud keeps it."""

    def delete_env_var(self, name: str) -> None:
        """Forget one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """Money that came into an account, or left it otherwise than by a machine's time.

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
    """One call that changed something of the account, by whatever program.

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
    """What a cloud keeps on paper of an account: invoices and an audit log."""

    def invoices(self, *, since: float, until: float) -> Sequence[Invoice]:
        """The invoices from `since` to `until` (Unix time, in seconds), the oldest first."""

    def audit_log(self, *, since: float) -> Sequence[AuditEntry]:
        """What was done from `since` on, the newest first."""
