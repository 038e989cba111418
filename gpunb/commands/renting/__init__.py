"""Verbs that find, rent, prolong, stop and end machines and disks.

Each asks `gpunb.services` what it costs before it does anything.
"""
