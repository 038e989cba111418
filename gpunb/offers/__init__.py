"""Offers: query language, search over all clouds at once, ranking, and prices.

::

    query = query_from_flags("reliability > 98%", gpu="H100", max_price="3")
    result = search(providers, query, on_answer=print)
    for row in result.rows: row.why()
    explain(result)
"""

from __future__ import annotations

from gpunb.offers.admit import LeftOut, admit
from gpunb.offers.flags import parse_query, query_from_flags
from gpunb.offers.gpus import Gpu, known_names, normalise
from gpunb.offers.language.explain import Relaxation, explain, relaxations
from gpunb.offers.language.fields import FIELDS, Field
from gpunb.offers.pricing import NO_HISTORY, History, Ready, Terms
from gpunb.offers.query import Condition, Query
from gpunb.offers.rank import Ranked
from gpunb.offers.search import Answer, SearchResult, pick, search

__all__ = [
    "FIELDS",
    "NO_HISTORY",
    "Answer",
    "Condition",
    "Field",
    "Gpu",
    "History",
    "LeftOut",
    "Query",
    "Ranked",
    "Ready",
    "Relaxation",
    "SearchResult",
    "Terms",
    "admit",
    "explain",
    "known_names",
    "normalise",
    "parse_query",
    "pick",
    "query_from_flags",
    "relaxations",
    "search",
]
