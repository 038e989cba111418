"""The supervisor: the one process at a time that enforces leases and ends instances.

`sweep` looks once over all sessions, `host_monitor` asks the hosts, `orphans` finds instances without
a session.
"""
