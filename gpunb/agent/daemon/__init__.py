"""The agent's main process on the host: cells, jobs, their journals, the lease and telemetry.

`server` opens a private Unix socket, a `connection` serves each client; `operations` are the requests
to the `agent`.
"""
