"""The agent's main process on the host: cells, jobs, their journals, the lease and telemetry.

`server` answers requests on a private Unix socket.
"""
