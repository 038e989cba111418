"""Leases, what a session costs so far, receipts, bills, credit and volumes.

US dollars and seconds throughout.
"""
