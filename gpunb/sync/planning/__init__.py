"""The plan of a sync: its ends, the rules, what goes, what stays, what is deleted.

Nothing in here moves a byte.
"""
