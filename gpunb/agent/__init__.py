"""The agent, which runs on the rented host: standard library and ipykernel, Python 3.8 or newer.

It is copied there as ``gpunb_agent`` and imports nothing else of gpunb; both ends import `shared`.
"""
