"""The application layer: what verbs, server and widgets can do, written once.

A frontend (`gpunb.cli`, `gpunb.notebook`, `gpunb.server`) asks and shows; what is done is decided here.
"""
