"""Verbs that run cells, scripts and commands on the host, and show and end their runs.

`gpunb.output` shows what a run prints.
"""
