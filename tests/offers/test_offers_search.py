from __future__ import annotations

import threading

import pytest

from gpunb.errors import BadAnswer, BadInput, RateLimited, Unavailable
from gpunb.offers import explain, parse_query, query_from_flags, relaxations, search
from tests.offers.rows import Cloud, many, offer


def test_all_clouds_are_asked_and_one_list_comes_back():
    clouds = {"vast": Cloud([offer("a", usd_h=3.0)]), "fluence": Cloud([offer("b", usd_h=1.0)])}
    heard = []
    result = search(clouds, parse_query("gpu=H100"), on_answer=heard.append)
    assert [(row.offer.provider, row.offer.id) for row in result.rows] == [("fluence", "b"), ("vast", "a")]
    assert sorted(answer.provider for answer in heard) == ["fluence", "vast"]
    assert [answer.provider for answer in result.answers] == ["vast", "fluence"]
    assert result.failed == []
    assert "H100 SXM" in clouds["vast"].asked[0].gpus


def test_a_slow_cloud_is_named_and_its_late_answer_dropped():
    release, late = threading.Event(), threading.Event()

    def slow(_query):
        release.wait(60)
        late.set()
        return [offer("late", usd_h=0.01)]

    heard = []
    result = search(
        {"slow": Cloud(slow, title="Slow.io"), "vast": Cloud([offer("a")])},
        parse_query(""),
        timeout=0.2,
        on_answer=heard.append,
    )
    assert [row.offer.id for row in result.rows] == ["a"]
    (failed,) = result.failed
    assert isinstance(failed.error, Unavailable)
    assert failed.error.message == "Slow.io did not answer within 0.2 s"
    release.set()
    assert late.wait(60)
    assert [row.offer.id for row in result.rows] == ["a"]
    assert [answer.provider for answer in heard] == ["vast", "slow"]
    for thread in threading.enumerate():
        if thread.name.startswith("gpunb-search"):
            thread.join(60)


def test_a_broken_cloud_is_named_with_its_error():
    def limited(_query):
        msg = "Vast.ai wants 6 s between searches"
        raise RateLimited(msg, provider="vast", retry_after=6)

    clouds = {
        "vast": Cloud(limited),
        "own": Cloud(lambda _query: {}["missing"]),
        "none": Cloud(lambda _query: None),
        "fluence": Cloud([offer("a")]),
    }
    result = search(clouds, parse_query(""))
    assert [row.offer.id for row in result.rows] == ["a"]
    errors = {answer.provider: answer.error for answer in result.failed}
    assert errors["vast"].retry_after == 6
    assert isinstance(errors["own"], BadAnswer)
    assert "KeyError: 'missing'" in errors["own"].message
    assert "TypeError" in errors["none"].message
    said = "\n".join(explain(result))
    assert "vast: Vast.ai wants 6 s between searches" in said


def test_the_clouds_asked_can_be_chosen_and_are_checked():
    clouds = {"vast": Cloud([offer("a")]), "fluence": Cloud([offer("b")])}
    result = search(clouds, query_from_flags(cloud="fluence"))
    assert [answer.provider for answer in result.answers] == ["fluence"]
    assert clouds["vast"].asked == []
    with pytest.raises(BadInput, match="there is no cloud 'fluenc'; there are vast, fluence") as caught:
        search(clouds, query_from_flags(cloud="fluenc"))
    assert caught.value.hint == "did you mean fluence?"


def test_only_clouds_with_spot_are_asked_for_spot():
    class Plain(Cloud):
        capabilities = frozenset()

    clouds = {
        "vast": Cloud(lambda query: [offer("s", rental=query.rental)]),
        "deepinfra": Plain([offer("d")]),
    }
    result = search(clouds, query_from_flags(spot=True))
    assert [row.offer.id for row in result.rows] == ["s"]
    assert result.answers[1].note == "has no spot offers"
    assert clouds["deepinfra"].asked == []
    both = search(clouds, parse_query("rental in (spot, on-demand)"))
    assert sorted((row.offer.id, row.offer.rental) for row in both.rows) == [
        ("d", "on-demand"), ("s", "on-demand"), ("s", "spot"),
    ]  # fmt: skip
    assert [query.rental for query in clouds["vast"].asked[1:]] == ["on-demand", "spot"]


def test_a_cloud_that_returns_more_than_asked_is_filtered_again():
    result = search({"vast": Cloud(many(200))}, query_from_flags("vram>=80", gpus="1..2", max_price=3))
    assert result.rows
    for row in result.rows:
        assert row.offer.vram_gb >= 80
        assert row.offer.gpus <= 2
        assert row.hourly <= 3
    assert result.matched + sum(count for _, count in result.counts) == len(result.offers) == 200


def test_each_offer_left_out_says_why():
    rows = [
        offer("1"),
        offer("2", usd_h=9.0),
        offer("3", gpu_raw="L4"),
        offer("4", usd_h=-1),
        offer("5", usd_h=2.5),
    ]
    result = search({"vast": Cloud(rows)}, query_from_flags("gpu=H100 limit 1", max_price=3))
    assert [row.offer.id for row in result.rows] == ["1"]
    assert {left.id: left.reason for left in result.left_out()} == {
        "2": "left out by --max-price 3",
        "3": "left out by gpu=H100",
        "4": "usd_h -1: a number from 0 to 100000 is expected",
        "5": "beyond the limit of 1",
    }


def test_an_empty_result_says_which_filter_emptied_it_and_what_would_fit():
    rows = [
        offer("1", usd_h=3.4),
        offer("2", usd_h=5.0),
        offer("3", usd_h=1.0, region="Texas, US"),
        offer("4", gpu_raw="L4"),
    ]
    result = search({"vast": Cloud(rows)}, query_from_flags("gpu=H100", max_price=3, region="EU", hours=2))
    assert result.rows == []
    found = {one.dropped: one for one in relaxations(result)}
    assert found["--max-price 3",].fitting == 2
    assert found["--max-price 3",].best[0].offer.id == "1"
    assert found["--max-price 3",].needs == "price $3.40"
    assert found["--region EU",].best[0].offer.id == "3"
    assert ("gpu=H100",) in found
    said = explain(result)
    assert "2 offers do not match --max-price 3" in said
    assert any(
        line.startswith(
            "without --max-price 3, 2 offers would fit (the nearest has price $3.40): 1x H100 SXM 80 GB"
        )
        for line in said
    )


def test_where_no_single_filter_helps_the_nearest_are_named():
    rows = [
        offer("1", usd_h=9.0, region="Texas, US"),
        offer("2", usd_h=9.0, region="Texas, US", gpu_raw="L4"),
    ]
    result = search({"vast": Cloud(rows)}, query_from_flags(gpu="H100", max_price=3, region="EU"))
    (nearest,) = relaxations(result)
    assert set(nearest.dropped) == {"--max-price 3", "--region EU"}
    assert nearest.best[0].offer.id == "1"
    assert any("--region EU and --max-price 3, 1 offer would fit" in line for line in explain(result))


def test_a_gpu_that_nobody_has_is_asked_about():
    result = search({"vast": Cloud([offer()])}, query_from_flags(gpu="H1OO"))
    assert "no offer has a GPU called 'H1OO'; did you mean H100?" in explain(result)


def test_no_offers_at_all_and_sold_out():
    assert explain(search({"vast": Cloud([])}, parse_query(""))) == ["no cloud had an offer at all"]
    assert explain(search({}, parse_query(""))) == ["no cloud was asked"]
    said = explain(search({"vast": Cloud([offer(available=0)])}, parse_query("")))
    assert said[0] == "1 offer is sold out"
    assert said[1].startswith("if not sold out, 1 offer would fit: ")


def test_one_filter_that_leaves_all_out_is_named_once():
    said = explain(search({"vast": Cloud([offer()])}, query_from_flags(gpu="L4")))
    assert said[0] == "1 offer does not match --gpu L4"
    assert said[1].startswith("without it, 1 offer would fit: 1x H100")
    assert len(said) == 2


def test_a_count_behind_the_gpu_is_an_option_of_its_own():
    said = explain(search({"vast": Cloud([offer()])}, query_from_flags(gpu="H100:8")))
    assert "'H100:8' is no GPU; did you mean --gpu H100 --gpus 8?" in said


def test_what_makes_no_sense_is_counted_for_its_cloud():
    result = search({"vast": Cloud([offer("1"), offer("2", usd_h="cheap\x1b[5m"), 7])}, parse_query(""))
    assert (result.answers[0].offers, result.answers[0].refused) == (3, 2)
    (line,) = explain(result)
    assert (
        line
        == "vast: 2 offers made no sense; the first, 2: usd_h 'cheap': a number from 0 to 100000 is expected"
    )
