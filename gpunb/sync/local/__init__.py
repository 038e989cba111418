"""The local side of a sync: listing, reading, and writing that never leaves the target.

`autorun` holds back names that would run here.
"""
