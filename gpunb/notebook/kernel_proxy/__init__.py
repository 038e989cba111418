"""Kernels of sessions: a local proxy process that stands for the kernel on the host.

`provisioner` starts the process; `proxy` is its program.
"""
