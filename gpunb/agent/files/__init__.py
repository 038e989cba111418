"""The host's end of file transfers: with the user's machine, another host or an object store.

Each transfer runs in a process of its own, on an SSH channel of its own.
"""
