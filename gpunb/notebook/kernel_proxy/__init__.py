"""A whole notebook's kernel on a host: the process that Jupyter takes for the kernel.

`provisioner` starts it, `proxy` is it.
"""
