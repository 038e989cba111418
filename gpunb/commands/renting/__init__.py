"""Verbs that find, rent, extend, stop and end machines and volumes.

What costs or ends something is confirmed first, by `gpunb.services.confirmations`.
"""
