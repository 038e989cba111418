from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.offers import parse_query, pick, query_from_flags
from gpunb.offers.admit import admit
from gpunb.offers.pricing import OWN_BOOT_S, USUAL_BOOT_S, USUAL_MBPS
from gpunb.offers.rank import MOST_FAILURES
from tests.offers.rows import many, offer


class Seen:
    """What an earlier rental left behind."""

    def __init__(self, failures=None, boots=None):
        self.failed, self.boots = failures or {}, boots or {}

    def failures(self, provider, machine_id, host_id):
        return self.failed.get((provider, machine_id), 0)

    def boot_seconds(self, provider):
        return self.boots.get(provider)


def ranked(rows, query="", history=None, **flags):
    kept, refused = admit("vast", rows)
    assert refused == []
    more = {"history": history} if history else {}
    return pick(kept, query_from_flags(query, **flags), **more).rows


def order(rows, query="", **more):
    return [row.offer.id for row in ranked(rows, query, **more)]


def test_the_price_is_what_is_paid_and_its_parts_add_up():
    (row,) = ranked(
        [offer(usd_h=2.0, disk_usd_gb_h=0.001, disk_included_gb=50, up_usd_gb=0.02, down_usd_gb=0.01)],
        disk=150,
        hours=4,
        up=10,
        down=20,
    )
    assert row.total == pytest.approx(8.0 + 0.4 + 0.2 + 0.2)
    assert (row.gpu_usd, row.disk_usd, row.traffic_usd) == pytest.approx((8.0, 0.4, 0.4))
    assert row.hourly == pytest.approx(2.1)
    assert row.gpu_usd + row.disk_usd + row.traffic_usd == pytest.approx(row.total)
    assert row.total == row.offer.total(4, disk_gb=150, up_gb=10, down_gb=20)


def test_clock_hours_are_paid_whole_and_said():
    rows = [offer("whole", usd_h=1.0, clock_hours=True, reserve_h=3.0), offer("exact", usd_h=1.1)]
    first, second = ranked(rows, hours=1.25)
    assert [first.offer.id, second.offer.id] == ["exact", "whole"]
    assert second.total == pytest.approx(3.0), "15:50 to 17:05 touches three hours of the clock"
    assert second.rounding_usd == pytest.approx(1.75)
    said = "\n".join(second.why())
    assert "whole hours of the clock, one more than it is long, are billed" in said
    assert "the account must hold 3 h ($3.00)" in said


def test_waiting_for_an_image_over_a_slow_line_costs():
    rows = [offer("slow", usd_h=2.0, inet_down_mbps=20.0), offer("fast", usd_h=2.05, inet_down_mbps=2000.0)]
    first, second = ranked(rows, image=10)
    assert first.offer.id == "fast"
    assert second.ready.image_s == pytest.approx(10 * 8000 / 20)
    assert second.waiting_usd == pytest.approx(2.0 * second.ready.total_s / 3600)
    assert any("over 20 Mb/s" in line for line in second.why())
    assert re.search(r"ready in about 1h \d\dm: boot \S+ .*, image 1h 07m over", "\n".join(second.why()))
    # nothing is pulled on a machine of its own
    (vm,) = ranked([offer("vm", kind="vm", inet_down_mbps=20.0)])
    assert vm.ready.image_s == 0
    assert vm.ready.boot_s == USUAL_BOOT_S["vm"]


def test_nothing_is_pulled_onto_ones_own_machine():
    (row,) = ranked([offer(trust="own", usd_h=0.0, inet_down_mbps=0.0)])
    assert row.ready.total_s == OWN_BOOT_S
    assert row.score == 0


def test_an_unknown_line_is_taken_for_a_usual_one_and_said():
    (row,) = ranked([offer(inet_down_mbps=0.0)], image=6)
    assert row.ready.image_s == pytest.approx(6 * 8000 / USUAL_MBPS)
    assert any("unknown line" in line for line in row.why())


def test_boots_seen_before_count_instead_of_the_usual():
    (row,) = ranked([offer(kind="vm")], history=Seen(boots={"vast": 400.0}))
    assert (row.ready.boot_s, row.ready.boot_seen) == (400.0, True)
    assert any("seen before" in line for line in row.why())
    (row,) = ranked([offer(kind="vm")], history=Seen(boots={"vast": math.nan}))
    assert not row.ready.boot_seen


def test_hosts_that_failed_before_sink():
    rows = [offer("bad", usd_h=1.0), offer("good", usd_h=1.8)]
    assert order(rows) == ["bad", "good"]
    first, second = ranked(rows, history=Seen({("vast", "mbad"): 1}))
    assert [first.offer.id, second.offer.id] == ["good", "bad"]
    assert second.score == pytest.approx(2 * (second.total + second.waiting_usd + second.risk_usd))
    assert any("failed once before" in line for line in second.why())
    worst = ranked(rows, history=Seen({("vast", "mbad"): 10**6}))[-1]
    assert worst.score == pytest.approx(
        (1 + MOST_FAILURES) * (worst.total + worst.waiting_usd + worst.risk_usd)
    )


def test_reliability_counts():
    assert (
        order([offer("shaky", usd_h=2.0, reliability=0.8), offer("solid", usd_h=2.1, reliability=0.999)])[0]
        == "solid"
    )


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("order by price", ["1", "2", "3"]),
        ("order by price desc", ["3", "2", "1"]),
        ("order by total/gpu", ["3", "2", "1"]),
        ("order by price/vram desc", ["3", "2", "1"]),
        ("order by gpu, price desc", ["2", "3", "1"]),
        ("order by gpu desc, price", ["1", "3", "2"]),
        ("order by region", ["3", "1", "2"]),
        ("order by region desc", ["1", "3", "2"]),
        ("order by inet_down", ["3", "1", "2"]),
        ("order by inet_down desc", ["1", "3", "2"]),
        ("order by verified desc, price", ["2", "1", "3"]),
        ("order by price limit 2", ["1", "2"]),
    ],
)
def test_orders_of_the_user_with_the_unknown_last(query, ids):
    rows = [
        offer("1", usd_h=1.0, gpus=1, region="Sweden, SE", inet_down_mbps=900.0, verified=False),
        offer("2", usd_h=1.6, gpus=2, region="", gpu_raw="A100 SXM4", vram_gb=80.0, inet_down_mbps=0.0),
        offer("3", usd_h=4.0, gpus=8, region="Japan, JP", inet_down_mbps=90.0, verified=False),
    ]
    assert order(rows, query) == ids


def test_equal_rows_keep_one_order():
    rows = [offer(str(number), machine_id="same", host_id="same") for number in (3, 1, 2)]
    assert order(rows) == order(rows[::-1]) == ["1", "2", "3"]


keys = st.sampled_from(
    ["", "order by total/gpu", "order by gpu desc, price", "order by cuda, reliability desc"]
)


@given(st.permutations(many(60)), st.integers(1, 70), keys)
@settings(max_examples=60, deadline=None)
def test_ranking_is_a_total_order(rows, limit, query):
    kept, _ = admit("vast", rows)
    whole = [row.offer.id for row in pick(kept, parse_query(query)).rows]
    assert len(whole) == len(set(whole))
    again = pick(kept[::-1], parse_query(f"{query} limit {limit}"))
    assert [row.offer.id for row in again.rows] == whole[:limit]
    assert again.matched == len(whole)
    assert [row.place for row in again.rows] == list(range(1, min(limit, len(whole)) + 1))
    if not query:
        scores = [row.score for row in pick(kept, parse_query("")).rows]
        assert scores == sorted(scores)
