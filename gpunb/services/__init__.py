"""The application layer shared by verbs, server and widgets.

A frontend (`gpunb.cli`, `gpunb.notebook`, `gpunb.server`) only asks and shows; the logic is here.
"""
