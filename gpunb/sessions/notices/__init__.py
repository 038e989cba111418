"""Notices to a person who is not looking: what is noticed, and how it is sent.

`events` reads the ledger for what a person should know, `outbox` sends each once, in batches, and
`channels` has the ways: desktop, webhook, the apprise library.
"""
