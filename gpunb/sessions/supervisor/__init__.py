"""The supervisor: the one process at a time that enforces leases and ends instances.

`sweep` checks all clouds once, `one_session` one session, `session_ends` ends it, `ledger_memory`
keeps the ledger's last readable state; `host_monitor` queries hosts, `orphans` finds instances
without a session.
"""
