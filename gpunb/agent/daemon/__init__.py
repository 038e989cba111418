"""The agent's process on the host: cells, jobs, runs, the lease, telemetry.

`server` answers on a private Unix socket.
"""
