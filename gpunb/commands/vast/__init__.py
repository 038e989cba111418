"""Verbs for what only Vast.ai has, typed behind its name: ``gpunb vast bid``.

When a second cloud has it, a verb moves to the group of its kind.
"""
