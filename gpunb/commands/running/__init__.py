"""Verbs that run cells, scripts and commands on the host, show their output and end them.

The output itself comes from `gpunb.output`.
"""
