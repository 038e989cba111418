"""The SFTP engine, for hosts without an agent, and operations on single files of a host.

`protocol` keeps many requests in flight on one channel.
"""
