"""A project's folder, here and on a host: where it lies, what comes back from it, and what both sides had.

What runs wrote there comes home by one rule after each run (`gpunb.services.project`) and before the
session ends (`gpunb.sessions.lifecycle.fetch_results`), whichever process ends it.
"""
