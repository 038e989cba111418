"""Access to a session's host: SSH connection and agent, ports, activity, and who rented it.

`host_access` is the entry point.
"""
