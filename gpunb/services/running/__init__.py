"""Runs on the host: its Python and packages, the code and secrets sent there, and the record of each run.

`runs` records a run before it starts and follows it to its end.
"""
