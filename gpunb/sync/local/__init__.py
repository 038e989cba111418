"""The local side of a sync: listed, read, and never written outside the target.

`autorun` holds back names that would run here.
"""
