"""Runs on the host: its Python and packages, the code and secrets sent there, and the notes of each run.

`runs` writes a run down before it starts and plays it to its end.
"""
