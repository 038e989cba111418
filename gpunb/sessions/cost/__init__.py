"""The money of sessions: leases, cost so far, receipts, bills, credit and volumes.

Amounts are US dollars, times are seconds.
"""
