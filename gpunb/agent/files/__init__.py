"""The host's end of file transfers: with this side, with another host, with an object store.

Each runs on an SSH channel of its own.
"""
