"""Hosts behind simulated instances, with and without a real SSH server.

`real` starts processes on this machine; `machines` has the interface, and hosts without processes.
"""
