"""The kernel's process on the host: an ipykernel whose output is on disk before it is sent.

Standard library and ipykernel only.
"""
