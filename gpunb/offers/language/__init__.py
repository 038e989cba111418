"""The query language: lexer, parser and predicate, and the fields and units it knows.

`gpunb.offers.query` is the entry point.
"""
