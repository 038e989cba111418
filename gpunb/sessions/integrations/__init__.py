"""Integrations with other tools: ``gpu://`` for fsspec, kernelspecs for Jupyter.

Both read the ledger.
"""
