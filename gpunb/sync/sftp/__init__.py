"""The SFTP engine, for hosts without an agent, and single files on a host.

`protocol` keeps many requests in flight on one channel.
"""
