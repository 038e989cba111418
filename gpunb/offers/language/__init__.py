"""The query language: words, tree, predicate, and the fields and units it knows.

`gpunb.offers.query` is the way in.
"""
