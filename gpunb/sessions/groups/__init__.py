"""Groups of sessions: renting them together, and what becomes of half a group.

`forming` rents all members or none; their rows are in `gpunb.sessions.ledger.groups`.
"""
