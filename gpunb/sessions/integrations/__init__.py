"""Sessions as other tools see them: ``gpu://`` for fsspec, kernelspecs for Jupyter.

Both read the ledger.
"""
