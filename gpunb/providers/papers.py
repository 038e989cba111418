"""What a cloud keeps on paper of an account, where its API shows it: invoices and an audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AuditEntry", "HasPapers", "Invoice"]


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


@runtime_checkable
class HasPapers(Protocol):
    """A provider whose cloud shows them."""

    def invoices(self, *, since: float, until: float) -> Sequence[Invoice]:
        """The invoices from `since` to `until` (Unix time, in seconds), the oldest first."""

    def audit_log(self, *, since: float) -> Sequence[AuditEntry]:
        """What was done from `since` on, the newest first."""
