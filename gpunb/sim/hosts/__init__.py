"""The machines behind simulated instances, with and without a real SSH server.

`real` starts processes on this machine; `machines` only pretends.
"""
