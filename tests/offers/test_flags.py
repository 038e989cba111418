from __future__ import annotations

import pytest

from gpunb.errors import BadInput
from gpunb.offers import parse_query, query_from_flags
from gpunb.offers.admit import admit
from tests.offers.rows import offer


def fits(flags: dict, **changes) -> bool:
    (one,), _ = admit("vast", [offer(**changes)])
    return query_from_flags(**flags).matches(one)


@pytest.mark.parametrize(
    ("flags", "good", "bad"),
    [
        ({"gpu": "H100"}, {"gpu_raw": "H100_NVL"}, {"gpu_raw": "H200"}),
        ({"gpu": "H100,H200"}, {"gpu_raw": "H200"}, {"gpu_raw": "A100"}),
        (
            {"gpu": ["A100 80GB"]},
            {"gpu_raw": "A100 SXM4", "vram_gb": 81.9},
            {"gpu_raw": "A100 SXM4", "vram_gb": 40.9},
        ),
        ({"gpus": "1..8"}, {"gpus": 8}, {"gpus": 16}),
        ({"gpus": 4}, {"gpus": 4}, {"gpus": 8}),
        ({"gpus": "2.."}, {"gpus": 9}, {"gpus": 1}),
        ({"vram": "80"}, {}, {"gpu_raw": "L4", "vram_gb": 22.5}),
        ({"vram": "24..48"}, {"gpu_raw": "L4", "vram_gb": 22.5}, {}),
        ({"max_price": "3"}, {"usd_h": 3.0}, {"usd_h": 3.001}),
        ({"max_price": "$3/h", "disk": "200"}, {"usd_h": 2.96}, {"usd_h": 2.961}),
        ({"max_total": 5, "hours": "2h"}, {"usd_h": 2.5}, {"usd_h": 2.51}),
        (
            {"max_total": 5, "down": "100GB"},
            {"usd_h": 1.0, "down_usd_gb": 0.04},
            {"usd_h": 1.0, "down_usd_gb": 0.041},
        ),
        ({"cloud": "vast.ai,fluence"}, {}, None),
        ({"region": "EU"}, {}, {"region": "California, US"}),
        ({"region": ["US", "Japan"]}, {"region": "Tokyo, JP"}, {}),
        ({"disk": "200GB"}, {}, {"disk_max_gb": 199.0}),
        ({"kind": "vm"}, {"kind": "vm"}, {"kind": "container"}),
        ({"kind": "baremetal,vm"}, {"kind": "bare-metal"}, {"kind": "container"}),
        ({"spot": True}, {"rental": "spot"}, {}),
        ({}, {}, {"rental": "spot"}),
        ({}, {}, {"available": 0}),
        ({"verified": True}, {}, {"verified": False}),
        ({"text": "reliability > 0.98 and vram>=80"}, {}, {"reliability": 0.98}),
        ({"text": "reliability > 0.98", "gpu": "H100"}, {}, {"gpu_raw": "A100"}),
    ],
)
def test_flags_filter(flags, good, bad):
    assert fits(flags, **good)
    assert bad is None or not fits(flags, **bad)


def test_what_clouds_are_told():
    query = query_from_flags(
        "vram>=80 and price<=2.5 and disk>=100 and kind=vm",
        gpu="H100",
        gpus="2..4",
        max_price="3",
        disk=50,
        region="US,Canada",
        hours="90m",
        up="1TB",
        limit=5,
    )
    ask = query.ask
    assert "H100 SXM" in ask.gpus
    assert (ask.count_min, ask.count_max, ask.vram_gb, ask.max_usd_h) == (2, 4, 80, 2.5)
    assert (list(ask.regions), list(ask.kinds), ask.disk_gb) == (["CA", "US"], ["vm"], 100)
    assert (ask.hours, ask.up_gb, ask.rental) == (1.5, 1000, "on-demand")
    # a cloud that cut its answer short would hide offers that rank better here
    assert ask.limit is None
    assert query.limit == 5


@pytest.mark.parametrize(
    "text",
    [
        "gpu=H100 or gpus=8",
        "not gpu=H100",
        "gpu!=H100",
        "gpu ~ H100",
        "region != US",
        "region=dulles",
        "vram<80",
        "gpus<=4",
    ],
)
def test_clouds_are_never_told_more_than_is_meant(text):
    ask = parse_query(text).ask
    assert (ask.gpus, ask.regions, ask.vram_gb, ask.count_min) == ((), (), 0.0, 0)


@pytest.mark.parametrize(
    ("text", "rentals", "clouds"),
    [
        ("", ("on-demand",), ()),
        ("rental = spot", ("spot",), ()),
        ("rental in (spot, on-demand)", ("on-demand", "spot"), ()),
        ("rental != reserved", ("on-demand", "spot"), ()),
        ("rental = spot or gpus=8", ("on-demand", "spot", "reserved"), ()),
        ("cloud in (vast.ai, Fluence)", ("on-demand",), ("vast", "fluence")),
        ("cloud != vast", ("on-demand",), ()),
    ],
)
def test_which_calls_are_made(text, rentals, clouds):
    query = parse_query(text)
    assert (query.rentals, query.clouds) == (rentals, clouds)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"gpus": "four"}, "--gpus: 'four' is not a number"),
        ({"gpus": "8..1"}, "--gpus: the range '8..1' ends before it begins"),
        ({"gpus": "-1"}, "--gpus -1: it can't be below 0"),
        ({"vram": "80m/s"}, "--vram: '80m/s' is not a number"),
        ({"vram": "80Gbps"}, "--vram: '80Gbps' has the unit"),
        ({"max_price": "cheap"}, "--max-price: 'cheap' is not a number"),
        ({"max_price": "nan"}, "--max-price: 'nan' is not a number"),
        ({"max_price": float("inf")}, "--max-price: 'inf' is not a number"),
        ({"disk": "-5"}, "--disk -5: it can't be below 0"),
        ({"kind": "vmm"}, "--type 'vmm'"),
        ({"hours": "0"}, "--for 0: must be more than 0"),
        ({"hours": "1e9"}, "--for 1e9: must be more than 0 and at most a year"),
        ({"limit": 0}, "--limit 0"),
        ({"spot": True, "reserved": True}, "--spot and --reserved"),
        ({"gpu": ",".join("x" * 200)}, "--gpu: at most 100 names"),
        ({"cloud": "vast", "text": "cloud=fluence"}, "no cloud and kind of rental can meet"),
        ({"spot": True, "text": "rental=reserved"}, "no cloud and kind of rental can meet"),
    ],
)
def test_bad_flags_are_named(flags, said):
    with pytest.raises(BadInput) as caught:
        query_from_flags(**flags)
    assert said in caught.value.message
