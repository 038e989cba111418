"""The kernelspecs of sessions: a local process that Jupyter takes for the kernel on the host.

`provisioner` starts it; `proxy` is that process.
"""
