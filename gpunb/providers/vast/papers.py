"""Vast's invoices and audit log.

Shapes: the OpenAPI document of Vast (``show_invoices_v1``) for the invoices; the published client
``vastai`` 1.9.1 (``audit_log_fields``) for the audit log, whose rows no document describes.
"""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from gpunb.errors import BadAnswer
from gpunb.providers.edge.payload import Wire, parse
from gpunb.providers.edge.text import clean
from gpunb.providers.features import AuditEntry, Invoice, Papers
from gpunb.providers.vast.base import VastBase

__all__ = ["VastPapers"]

#: These say what the account got; all others say what it owes, so that a payment is negative
#: (``format_invoices_charges_results`` of the client turns them round, too).
_AS_IT_IS = frozenset({"transfer", "payout"})


class _Paid(Wire):
    start: float | None = None
    type: str = ""
    source: str | None = None
    description: str | None = None
    amount: float
    metadata: dict[str, object] = Field(default_factory=dict)


class _Done(Wire):
    created_at: float | str | None = None
    api_route: str | None = None
    ip_address: str | None = None
    api_key_id: int | str | None = None


class VastPapers(VastBase, Papers):
    """Invoices and audit log of the account; needs the categories billing_read and user_read."""

    def invoices(self, *, since: float, until: float) -> list[Invoice]:
        """Return payments, transfers, prepayments and refunds; machine time is in `charges`."""
        rows = self._pages(
            "/api/v1/invoices/",
            "results",
            what="invoices",
            limit=100,
            select_filters={"when": {"gte": since, "lte": until}},
            latest_first=False,
        )
        out = []
        for raw in rows:
            row = parse(_Paid, raw, provider=self.name, what="an invoice")
            out.append(
                Invoice(
                    provider=self.name,
                    id=clean(row.metadata.get("invoice_id") or "", 40),
                    at=row.start,
                    kind=clean(row.type, 40),
                    usd=row.amount if row.type in _AS_IT_IS else -row.amount,
                    source=clean(row.source or "", 60),
                    text=clean(row.description or "", 200),
                )
            )
        return out

    def audit_log(self, *, since: float) -> list[AuditEntry]:
        """Return the changes of the account, the newest first, without the calls' arguments."""
        rows = self._call("GET", "/audit_logs/", expect=list)
        out = []
        for raw in rows:
            row = parse(_Done, raw, provider=self.name, what="a line of the audit log")
            at = _unix(row.created_at, self.name)
            if at is None or at >= since:
                out.append(
                    AuditEntry(
                        provider=self.name,
                        at=at,
                        what=clean(row.api_route or "", 120),
                        address=clean(row.ip_address or "", 60),
                        key_id=clean(row.api_key_id or "", 40),
                    )
                )
        return sorted(out, key=lambda one: one.at or 0.0, reverse=True)


def _unix(given: float | str | None, provider: str) -> float | None:
    """Return the Unix time of a number, or of a text in ISO 8601."""
    if given is None or isinstance(given, float):
        return given
    try:
        return float(given)
    except ValueError:
        pass
    try:
        found = dt.datetime.fromisoformat(given.replace("Z", "+00:00"))
    except ValueError as err:
        msg = f"{provider}: a line of the audit log: field created_at is {clean(repr(given), 60)}, no time"
        raise BadAnswer(msg, provider=provider) from err
    return (found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)).timestamp()
