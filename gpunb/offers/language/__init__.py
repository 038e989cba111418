"""The query language: lexer, parser and predicate, and its fields and units.

`gpunb.offers.query` is the entry point.
"""
