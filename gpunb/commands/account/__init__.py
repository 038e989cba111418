"""Verbs about keys, settings, trust and this installation.

None of them rents anything.
"""
