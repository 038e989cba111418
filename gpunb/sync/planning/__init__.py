"""The plan of a sync: its endpoints, its rules, and what is sent, kept and deleted.

Nothing in here moves a byte.
"""
