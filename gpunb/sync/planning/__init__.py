"""What a sync will do: its ends, the rules of what stays, the plan, what it deletes and what it warns of.

Nothing in here moves a byte.
"""
