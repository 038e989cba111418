"""Verbs that move files, forward ports and open a shell.

The plan and the engines are in `gpunb.sync`.
"""
