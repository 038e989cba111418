"""The simulator's core: clock, bills, faults, limits, transport, the served app, the control routes."""

from __future__ import annotations

import json
import random

import httpx
import pytest
from support.rentals.simulated import in_process, served

from gpunb.sim import Bill, Clock, Fault, Faults, RateLimiter
from gpunb.sim.catalog import rigs
from gpunb.sim.money import Account


class TestClock:
    def test_a_virtual_clock_moves_only_when_told(self) -> None:
        clock = Clock.virtual(100.0)
        assert clock.now() == clock.now() == 100.0
        clock.advance(2.5)
        assert clock.now() == 102.5

    def test_speed_and_jumps(self) -> None:
        clock = Clock(speed=1000.0, start=0.0)
        clock.advance(3600)
        assert clock.now() >= 3600
        before = clock.now()
        clock.set_speed(0.0)
        stopped = clock.now()
        assert before <= stopped == clock.now()

    @pytest.mark.parametrize("speed", [-1.0, -0.001])
    def test_it_never_runs_backwards(self, speed: float) -> None:
        with pytest.raises(ValueError, match="backwards"):
            Clock(speed)
        with pytest.raises(ValueError, match="backwards"):
            Clock.virtual().advance(speed)


class TestMoney:
    def test_segments_and_charges(self) -> None:
        bill = Bill("i")
        bill.open("gpu", 3.6, 0.0)
        bill.open("disk", 0.36, 0.0)
        bill.close(1000.0, "gpu")
        bill.charge("bandwidth", 0.25, 500.0)
        assert bill.by_kind(2000.0) == pytest.approx({"gpu": 1.0, "disk": 0.2, "bandwidth": 0.25})
        assert bill.billed()
        bill.close(2000.0)
        assert not bill.billed()
        assert bill.total(9e9) == pytest.approx(1.45)
        assert bill.seconds("gpu", 9e9, since=400.0) == 600.0

    def test_an_account_spends_and_reserves(self) -> None:
        account = Account("k", deposit=10.0)
        account.bill("a").open("gpu", 3600.0, 0.0)
        account.held["b"] = 2.0
        assert account.balance(5.0) == pytest.approx(3.0)
        assert account.usd_h() == 3600.0


class TestFaults:
    def test_endpoint_count_and_delay(self) -> None:
        faults = Faults()
        faults.add("error-after", "create", after=1, times=2)
        seen = [
            faults.take("error-after", name, 0.0) is not None
            for name in ("list", "create", "create", "create")
        ]
        assert seen == [False, False, True, True]
        assert faults.take("error-after", "create", 0.0) is None
        assert [(found.kind, found.endpoint) for found in faults.fired] == [("error-after", "create")] * 2

    def test_a_pattern_or_a_path_names_the_endpoint(self) -> None:
        faults = Faults()
        faults.add("quota", "GET /v1/*", times=None)
        assert faults.take("quota", "list", 0.0, where="GET /v1/containers")
        assert faults.take("quota", "create", 0.0, where="POST /v1/containers") is None

    def test_chances_repeat_with_their_seed(self) -> None:
        def run(seed: int) -> list[bool]:
            faults = Faults(random.Random(seed))
            faults.add("quota", times=None, chance=0.5)
            return [faults.take("quota", "list", 0.0) is not None for _ in range(64)]

        assert run(1) == run(1) != run(2)

    def test_a_scenario_file(self, tmp_path) -> None:
        path = tmp_path / "faults.json"
        path.write_text(
            json.dumps([{"kind": "list-lag", "params": {"seconds": 9}}, {"kind": "quota", "times": None}])
        )
        faults = Faults()
        lag, quota = faults.load(path)
        assert lag.number("seconds", 60) == 9
        assert quota.times is None
        path.write_text('{"kind": "quota"}')
        with pytest.raises(ValueError, match="JSON list"):
            faults.load(path)

    @pytest.mark.parametrize(
        ("bad", "word"), [({"kind": "earthquake"}, "earthquake"), ({"kind": "quota", "times": 0}, "times 0")]
    )
    def test_bad_faults_are_refused_by_name(self, bad: dict, word: str) -> None:
        with pytest.raises(ValueError, match=word):
            Fault(**bad)


def test_the_limiter_counts_per_endpoint_and_key() -> None:
    clock = Clock.virtual()
    limiter = RateLimiter(clock.now, {"create": 4.5})
    assert limiter.wait("create", "a") == 0
    assert limiter.wait("create", "a") == pytest.approx(4.5)
    assert limiter.wait("create", "b") == limiter.wait("list", "a") == limiter.wait("list", "a") == 0
    clock.advance(4.5)
    assert limiter.wait("create", "a") == 0


def test_offers_are_the_same_for_the_same_seed() -> None:
    assert list(rigs(50, 3)) == list(rigs(50, 3)) != list(rigs(50, 4))
    found = list(rigs(2000, 1))
    assert len({rig.model.name for rig in found}) > 10
    assert all(0 < rig.usd_h < 100 and 0 <= rig.reliability <= 1 for rig in found)
    assert all(rig.up_usd_gb == 0 for rig in rigs(200, 1, datacenter=True))


class TestTransport:
    def test_a_hang_is_a_timeout_and_moves_a_virtual_clock(self) -> None:
        sim = in_process("sesterce")
        sim.cloud.faults.add("timeout-before", "search", times=None)
        before = sim.clock.now()
        transport = sim.provider.config.options["http"]["transport"]
        with httpx.Client(transport=transport, timeout=7.0) as client, pytest.raises(httpx.ReadTimeout):
            client.get("http://127.0.0.1/gpu-cloud/instances/offers")
        assert sim.clock.now() == before + 7.0

    def test_the_log_of_calls_has_every_request(self) -> None:
        sim = in_process("deepinfra")
        sim.provider.check()
        assert [(call.endpoint, call.status) for call in sim.cloud.calls] == [("check", 200)]


class TestServed:
    def test_control_routes_over_http(self) -> None:
        with served("sesterce", boot_s=0.0) as sim, httpx.Client(base_url=sim.url, trust_env=False) as client:
            made = sim.rent()
            sim.provider.get(made.id)
            assert client.post("/_sim/clock", json={"advance": 3600}).json()["speed"] == 1.0
            state = client.get("/_sim/state").json()
            (row,) = state["machines"]
            assert row["id"] == made.id
            assert row["phase"] == "running"
            assert row["usd"] == pytest.approx(made.usd_h, rel=0.01)
            assert client.post("/_sim/faults", json={"kind": "nonsense"}).status_code == 400
            assert client.post("/_sim/clock", json={"advance": -1}).status_code == 400
            client.post("/_sim/faults", json={"kind": "quota", "endpoint": "list", "times": 3})
            assert client.get("/_sim/state").json()["faults"][0]["kind"] == "quota"
            assert client.delete("/_sim/faults").json() == {"waiting": []}
            hit = client.post("/_sim/faults", json={"kind": "host-offline", "now": True, "instance": made.id})
            assert hit.json() == {"hit": 1}
            assert client.get("/_sim/state").json()["machines"][0]["phase"] == "offline"
            before = client.get("/_sim/state").json()["accounts"][0]["balance"]
            assert client.post("/_sim/deposit", json={"usd": 5}).json()["balance"][0] == pytest.approx(
                before + 5, 0.01
            )
            assert client.get("/_sim/calls").json()[0][2] == "search"

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("timeout-after", httpx.ReadTimeout),
            ("timeout-before", httpx.ReadTimeout),
            ("drop-after", httpx.HTTPError),
        ],
    )
    def test_a_lost_answer_over_a_socket(self, kind: str, error: type[Exception]) -> None:
        with (
            served("deepinfra") as sim,
            httpx.Client(base_url=sim.url, timeout=0.3, trust_env=False) as client,
        ):
            sim.cloud.faults.add(kind, "add-ssh-key")
            key = {"Authorization": f"Bearer {sim.cloud.key}"}
            with pytest.raises(error):
                client.post("/v1/ssh_keys", json={"name": "a", "key": "b"}, headers=key)
            known = client.get("/v1/ssh_keys", headers=key).json()
            assert [row["name"] for row in known] == ([] if kind.endswith("before") else ["a"])
