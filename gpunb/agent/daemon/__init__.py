"""The agent's main process on the host: cells, jobs, their journals, the lease and telemetry.

`server` opens a private Unix socket, a `connection` serves each client; `operations` is what can be asked
of the `agent`.
"""
