from __future__ import annotations

import math
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.offers import parse_query, pick
from gpunb.offers.admit import LIMITS, admit
from gpunb.offers.language.explain import explain
from gpunb.providers import Offer
from tests.offers.rows import offer

ODD = [
    Decimal("NaN"),
    Decimal("1e400"),
    Fraction(10**400),
    -1,
    -0.01,
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    "3",
    "",
    None,
    [],
    {},
    10**400,
    b"3",
    complex(1, 1),
]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
def test_an_absurd_number_leaves_its_offer_out_with_the_reason(name, value):
    kept, refused = admit("vast", [offer("1"), offer("2", **{name: value}), offer("3")])
    assert [one.id for one in kept] == ["1", "3"]
    (left,) = refused
    assert (left.provider, left.id) == ("vast", "2")
    assert left.reason.startswith(f"{name} ")
    assert len(left.reason) < 120


@pytest.mark.parametrize("value", [-1, math.nan, "3", None, []])
def test_a_disk_may_be_without_end_but_not_absurd(value):
    kept, refused = admit("vast", [offer("1", disk_max_gb=math.inf), offer("2", disk_max_gb=value)])
    assert [one.id for one in kept] == ["1"]
    assert refused[0].reason.startswith("disk_max_gb ")


@pytest.mark.parametrize("name", ["reliability", "cuda"])
def test_odd_facts_may_be_missing_but_not_absurd(name):
    kept, refused = admit(
        "vast", [offer("1", **{name: None}), offer("2", **{name: math.nan}), offer("3", **{name: "x"})]
    )
    assert [one.id for one in kept] == ["1"]
    assert [one.id for one in refused] == ["2", "3"]


@pytest.mark.parametrize("value", [None, 7, "", "x" * 300, "a\x1b[31m", "a\nb", ["1"]])
def test_an_id_is_sent_back_to_the_cloud_so_it_is_never_mended(value):
    kept, refused = admit("vast", [offer(id=value)])
    assert kept == []
    assert refused[0].reason.startswith("id ")


@pytest.mark.parametrize("junk", [None, 7, "offer", {"id": "1"}, [], object()])
def test_what_is_no_offer_is_left_out(junk):
    kept, refused = admit("vast", [junk, offer()])
    assert len(kept) == 1
    assert "is not an offer" in refused[0].reason


def test_hostile_text_is_cleaned():
    evil = "\x1b[31m<script>alert(1)</script>\u202e\r\n" + "A" * 1_000_000
    (one,), refused = admit(
        "vast",
        [offer(gpu_raw=evil, gpu=evil, region=evil, country=evil, cpu=evil, machine_id=evil, host_id=evil)],
    )
    assert refused == []
    for name in ("gpu", "gpu_raw", "region", "country", "cpu", "machine_id", "host_id"):
        text = getattr(one, name)
        assert len(text) <= 160
        assert text.isprintable()
    assert one.gpu.startswith("<script>")  # to be escaped by whoever shows it


def test_a_thousand_megabyte_texts_do_not_add_up():
    rows = [
        offer(str(number), region=f"{number}" + "A" * 1_000_000, gpu_raw="B" * 500_000)
        for number in range(40)
    ]
    kept, _ = admit("vast", rows)
    assert sum(len(one.region) + len(one.gpu) + len(one.gpu_raw) for one in kept) < 20_000


def test_decimals_and_numbered_ids_are_taken():
    (one,), refused = admit(
        "vast", [offer(usd_h=Decimal("1.25"), machine_id=77, trust="whoever", kind="docker", rental="bid")]
    )
    assert refused == []
    assert (one.usd_h, one.machine_id) == (1.25, "77")
    assert (one.trust, one.kind, one.rental) == ("stranger", "container", "spot")
    assert isinstance(one.usd_h, float)


def test_an_unknown_kind_of_rental_is_never_taken_for_another():
    kept, refused = admit("vast", [offer(rental="lease"), offer(kind="pod")])
    assert kept == []
    assert len(refused) == 2


def test_names_regions_and_the_provider_are_made_ours():
    (one,), _ = admit(
        "vast",
        [offer(provider="liar", gpu_raw="", gpu="NVIDIA A100-SXM4-40GB", vram_gb=0.0, region="dulles-usa-1")],
    )
    assert (one.provider, one.gpu, one.gpu_raw, one.vram_gb, one.country) == (
        "vast",
        "A100 SXM",
        "NVIDIA A100-SXM4-40GB",
        40.0,
        "US",
    )


def test_admitted_twice_changes_nothing():
    first, _ = admit("vast", [offer(), offer("2", gpu_raw="Strange\x07 Thing", region="X\x1b[0m")])
    before = [(one.gpu, one.vram_gb, one.region, one.country) for one in first]
    again, refused = admit("vast", first)
    assert refused == []
    assert [(one.gpu, one.vram_gb, one.region, one.country) for one in again] == before


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=4),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.just(Decimal("1.5")),
    st.just(Fraction(1, 3)),
)
NAMES = [one.name for one in fields(Offer)]


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), anything, max_size=4), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_no_value_anywhere_breaks_a_search(changes):
    rows = [offer(str(number), **change) for number, change in enumerate(changes)]
    kept, refused = admit("vast", rows)
    assert len(kept) + len(refused) == len(rows)
    query = parse_query(
        "gpu=H100 and price<5 and region=EU and compute_cap>1 and reliability>.5 order by total/gpu, cpu desc"
    )
    result = pick(kept, query)
    explain(result)
    for one in pick(kept, parse_query("")).rows:
        assert math.isfinite(one.score)
        assert one.why()
