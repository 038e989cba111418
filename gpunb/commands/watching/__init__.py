"""Verbs that show sessions, load, costs and receipts; they change nothing.

What they show is declared in `gpunb.presentation`.
"""
