"""The hosts' files as an fsspec filesystem.

`guard` keeps back files that could run on this side.
"""
