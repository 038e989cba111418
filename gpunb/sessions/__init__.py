"""Sessions: the ledger, the lifecycle, leases, the supervisor, costs and receipts.

`model` holds the records; `lifecycle` moves them from state to state.
"""
