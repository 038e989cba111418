"""The supervisor: the one process at a time that enforces leases and ends instances.

`sweep` looks once over all clouds, `one_session` at one session, `session_ends` ends it, `ledger_memory`
holds what the ledger said last; `host_monitor` asks the hosts, `orphans` finds instances without a session.
"""
