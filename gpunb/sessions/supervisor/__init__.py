"""Who ends instances: one process at a time, which looks over all sessions again and again.

`sweep` is one look, `host_monitor` asks the hosts, `orphans` finds instances without a session.
"""
