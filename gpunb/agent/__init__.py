"""What runs on the rented host: standard library plus ipykernel, Python 3.8 on.

The package is copied to the host under the name ``gpunb_agent`` and imports
nothing else of gpunb. `protocol` is shared by both ends.
"""
