"""What running something on the host needs: its Python, packages, code, secrets, and notes of the run.

`runs` writes a run down before it starts and plays it to its end.
"""
