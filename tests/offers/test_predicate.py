"""The compiled test of an offer against one written the plain way."""

from __future__ import annotations

import math
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.offers.admit import admit
from gpunb.offers.gpus import Wanted
from gpunb.offers.language.parser import parse
from gpunb.offers.language.predicate import compile_node
from gpunb.offers.language.tree import All, Any_, Compare, Not
from gpunb.offers.pricing import Terms
from gpunb.offers.regions import region_test
from tests.offers.rows import many

NUMBERS = {
    "gpus": [1, 2, 4, 8],
    "vram": [12, 24, 80, 141],
    "price": [0.5, 2, 4],
    "total": [1, 5, 20],
    "disk": [50, 200],
    "inet_down": [90, 400],
    "reliability": [0.9, 0.985, 0.999],
    "cuda": [11.8, 12.4],
    "ready": [60, 200],
}
numbers = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from(NUMBERS[name])
    ).map(lambda found: "{} {} {}".format(*found))
)
texts = st.sampled_from(
    [
        "gpu = H100",
        "gpu != H100",
        "gpu in (RTX 4090, L40S)",
        "gpu = A100 40GB",
        "gpu not in (H100, H200)",
        "gpu ~ rtx",
        "not gpu ~ rtx",
        "gpu = Banana 9",
        "region = EU",
        "region != EU",
        "region in (US, Sweden)",
        "region = dulles",
        "region ~ west",
        "kind = vm",
        "kind != vm",
        "kind in (vm, bare-metal)",
        "verified",
        "verified = false",
        "datacenter",
        "trust = stranger",
        "gpus in (1, 8)",
        "gpus not in (1, 8)",
        "gpus = 2..4",
        "gpus != 2..4",
        "vram in (24, 80)",
        "machine_id = m3",
        "id in (1, 2, 3)",
        "cpu != x",
    ]
)
queries = st.recursive(
    numbers | texts,
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, inner).map("({0[0]}) and ({0[1]})".format),
        st.tuples(inner, inner).map("({0[0]}) or ({0[1]})".format),
    ),
    max_leaves=6,
)


@cache
def offers():
    return admit("vast", many(300))[0]


def naive(node, offer, terms):
    """The same language, evaluated with no thought of speed."""
    if isinstance(node, Not):
        return not naive(node.part, offer, terms)
    if isinstance(node, All):
        return all(naive(part, offer, terms) for part in node.parts)
    if isinstance(node, Any_):
        return any(naive(part, offer, terms) for part in node.parts)
    assert isinstance(node, Compare)
    value = node.field.get(terms)(offer)
    known = bool(offer.region or offer.country) if node.field.kind == "region" else value not in ("", None)
    if node.field.kind == "number":
        known = not math.isnan(value)
    if node.op == "~":
        first = node.values[0]
        found = (first.text if isinstance(first, Wanted) else first).lower() in value.lower()
        return found != node.negated
    if node.field.kind == "bool":
        return (value == node.values[0]) != node.negated
    if not known:
        return False
    return holds(node, value, offer) != node.negated


def holds(node, value, offer):
    if node.field.kind == "gpu":
        return any(value.lower() in one.names and one.vram_gb in (0, offer.vram_gb) for one in node.values)
    if node.field.kind == "region":
        return any(region_test(one)(offer.country, offer.region) for one in node.values)
    if node.op == "..":
        return node.values[0] <= value <= node.values[1]
    if node.op in ("=", "in"):
        if node.field.kind == "number":
            return any(math.isclose(value, one, rel_tol=1e-9, abs_tol=1e-9) for one in node.values)
        return value.lower() in {one.lower() for one in node.values}
    limit = node.values[0]
    near = math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-9)
    return {"<": value < limit, "<=": value < limit or near, ">": value > limit, ">=": value > limit or near}[
        node.op
    ]


@given(queries)
@settings(max_examples=250, deadline=None)
def test_the_compiled_test_is_the_naive_one(text):
    node = parse(text).where
    terms = Terms(hours=2.0, disk_gb=100.0, down_gb=20.0)
    test = compile_node(node, terms)
    assert [test(offer) for offer in offers()] == [naive(node, offer, terms) for offer in offers()]


def test_what_is_not_known_satisfies_no_comparison():
    (one, *_), _ = admit("vast", many(1))
    one.inet_down_mbps, one.reliability, one.region, one.country = 0.0, None, "", ""
    for text in (
        "inet_down < 1",
        "inet_down != 1",
        "inet_down >= 0",
        "reliability < 0.5",
        "region != US",
        "region = EU",
    ):
        assert not compile_node(parse(text).where, Terms())(one), text


def test_vasts_own_fields_are_read_from_its_row():
    (one, *_), _ = admit("vast", many(1))
    one.raw = {
        "compute_cap": 890,
        "static_ip": True,
        "duration": 864000.0,
        "pci_gen": "4",
        "gpu_arch": "nvidia",
        "dlperf": None,
    }
    for text, holds_ in {
        "compute_cap >= 800": True,
        "static_ip": True,
        "duration >= 10": True,
        "duration > 10": False,
        "pci_gen >= 3": False,
        "gpu_arch = NVIDIA": True,
        "dlperf > 0": False,
        "has_avx": False,
        "score < 1": False,
    }.items():
        assert compile_node(parse(text).where, Terms())(one) is holds_, text
