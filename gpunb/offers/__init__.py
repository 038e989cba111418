"""find: the query language, the search over all clouds at once, ranking and price."""
