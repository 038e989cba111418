"""keep: the ledger, the lifecycle, leases and receipts."""
