"""The local side of a sync: listed, read, and written to without leaving the target.

Names that would run here are held back (`autorun`, `free_names`).
"""
