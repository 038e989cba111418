"""Stands before the package of this name, whose import compiles a grammar for a second or two.

jsonschema, which each Jupyter server imports, takes it if it is there, for a format that none of them uses.
"""

raise ImportError
