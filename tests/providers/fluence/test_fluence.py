"""Fluence against its simulation; each test names the fact of Fluence's own pages that it holds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import AuthFailed, BadInput, InstanceGone, NoFunds, NotSupported, OfferGone
from gpunb.providers import InstanceState, OfferQuery, Presence, RegistryLogin
from gpunb.providers.contract import ProviderContract
from gpunb.providers.fluence import billed_hours, next_edge
from gpunb.providers.fluence.api import NotYet, gigabytes
from gpunb.sim import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0


def login(server: str, password: str = "p") -> RegistryLogin:
    return RegistryLogin(server=server, user="u", password=SecretStr(password))


@pytest.fixture
def sim(home: Path) -> Simulated:
    # a clock that stands one minute after a full hour
    return in_process("fluence", clock=Clock.virtual(500_000 * HOUR + 60))


class _Contract(ProviderContract):
    kind = "container"

    @pytest.fixture
    def query(self) -> OfferQuery:
        return OfferQuery(kinds=[self.kind])

    @pytest.fixture
    def provider(self, home: Path) -> Any:
        return in_process("fluence", clock=Clock(500.0)).provider


class TestContainerContract(_Contract):
    @pytest.fixture
    def provider(self, home: Path) -> Iterator[Any]:
        with served("fluence", boot_s=0.2) as sim:
            yield sim.provider


class TestVmContract(_Contract):
    kind = "vm"
    unknown_id = "vm:987654321"

    def test_logs(self, provider: Any, rent: Any) -> None:
        with pytest.raises(NotSupported, match="vm"):
            provider.logs(rent().id)


class TestBareMetalContract(_Contract):
    kind = "bare-metal"
    unknown_id = "bm:987654321"

    def test_logs(self, provider: Any, rent: Any) -> None:
        with pytest.raises(NotSupported, match="bare-metal"):
            provider.logs(rent().id)


class TestPlans:
    def test_three_kinds_each_with_an_id_of_its_own_form(self, sim: Simulated) -> None:
        found = sim.provider.search(OfferQuery())
        assert {offer.kind for offer in found} == {"container", "vm", "bare-metal"}
        assert all(offer.id.startswith("vm:") for offer in found if offer.kind == "vm")
        assert all(offer.clock_hours and offer.reserve_h == 3 for offer in found)

    def test_only_the_kinds_asked_for_are_fetched(self, sim: Simulated) -> None:
        found = sim.provider.search(OfferQuery(kinds=["vm"]))
        assert {offer.kind for offer in found} == {"vm"}
        assert sim.calls("search") == 1

    def test_a_container_plan_is_one_offer_for_each_location(self, sim: Simulated) -> None:
        plan = next(iter(sim.cloud.plans.values()))[1]
        plan["attributes"]["location"] = ["US", "DE"]
        found = [
            offer for offer in sim.provider.search(OfferQuery()) if offer.id.startswith(plan["plan"]["id"])
        ]
        assert [(offer.region, offer.country) for offer in found] == [("US", "US"), ("DE", "DE")]

    def test_units_are_texts_with_a_suffix(self) -> None:
        assert (
            gigabytes("120Gi")
            == gigabytes({"count": 120, "units": "Gi"})
            == pytest.approx(128.849, abs=0.001)
        )
        assert gigabytes({"count": "1", "units": "Ti"}) == pytest.approx(1099.5, abs=0.1)
        assert gigabytes("80 GB") == gigabytes(80) == 80.0
        assert gigabytes(None) == gigabytes("much") == 0.0

    def test_an_h200_has_141_gb_although_its_vram_is_written_141gi(self, sim: Simulated) -> None:
        found = [offer for offer in sim.provider.search(OfferQuery()) if offer.gpu_raw.startswith("H200")]
        assert {offer.vram_gb for offer in found} == {141.0}

    def test_the_interface_is_spelt_in_two_ways_and_read_as_one(self, sim: Simulated) -> None:
        names = {offer.gpu_raw for offer in sim.provider.search(OfferQuery())}
        assert all(name == name.upper() for name in names)
        assert {name.split()[-1] for name in names} <= {"SXM", "PCIE"}

    def test_the_country_of_a_data_center_name(self, sim: Simulated) -> None:
        for offer in sim.provider.search(OfferQuery(kinds=["vm"])):
            assert len(offer.country) == 2, offer.region

    def test_one_kind_that_fails_does_not_hide_the_others(
        self, sim: Simulated, caplog: pytest.LogCaptureFixture
    ) -> None:
        sim.cloud.faults.add("wrong-shape", "GET /gpu/plans/vms", times=None)
        with caplog.at_level(logging.WARNING):
            found = sim.provider.search(OfferQuery())
        assert {offer.kind for offer in found} == {"container", "bare-metal"}
        assert "vm plans are left out" in caplog.text

    def test_a_plan_that_cannot_be_read_is_left_out_and_told(
        self, sim: Simulated, caplog: pytest.LogCaptureFixture
    ) -> None:
        count = len(sim.provider.search(OfferQuery()))
        rig, _ = next(iter(sim.cloud.plans.values()))
        sim.cloud.plans["odd"] = (rig, {"plan": {"id": "odd"}, "attributes": None})
        sim.cloud.plans["odder"] = (rig, {"plans": 5})
        with caplog.at_level(logging.WARNING):
            assert len(sim.provider.search(OfferQuery())) == count
        assert caplog.text.count("a plan is left out") == 2


class TestRules:
    """What the seeds say that Fluence refuses is refused here, with the field named, before any call."""

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ({"label": "x" * 26}, "label .*1 to 25"),
            ({"label": ""}, "label"),
            ({"label": "Upper"}, "label 'Upper'"),
            ({"label": "-a"}, "no hyphen first"),
            ({"label": "a-"}, "no hyphen first"),
            ({"image": "docker.io/Some/Image:1"}, "image .*lower case"),
            ({"image": "a" * 256}, "255"),
            ({"ports": [70000]}, "ports .*1 and 65535"),
            ({"ports": ["8000/http"]}, "only port 80"),
            ({"ports": ["8000/sctp"]}, "tcp, udp or http"),
            ({"ports": list(range(9000, 9010))}, "1 to 10 ports"),
            ({"env": {f"A{i}": "" for i in range(65)}}, "64 variables"),
            ({"env": {"SSH_PUBKEY": "x"}}, "SSH_PUBKEY.*reserved"),
            ({"env": {"lower": "x"}}, "env 'lower'"),
            ({"env": {"1A": "x"}}, "env '1A'"),
            ({"start_command": "x" * 2049}, "start_command .*2048"),
            ({"start_command": "serve\nsshd"}, "start_command .* must be one line"),
            ({"login": login("quay.io")}, r"credentials\.host 'quay\.io'"),
            ({"login": login("ghcr.io", password="")}, r"credentials\.password is missing"),
            ({"extra": {"location": "ZZ"}}, "location 'ZZ'"),
            ({"public_key": "AAAA"}, "public_key"),
            ({"disk_gb": 1e6}, "disk_gb"),
        ],
    )
    def test_containers(self, sim: Simulated, spec: dict[str, Any], words: str) -> None:
        offer = sim.offer("container")
        with pytest.raises(BadInput, match=words):
            sim.rent(offer, **spec)
        assert sim.calls("create") == 0

    def test_a_password_is_never_repeated(self, sim: Simulated) -> None:
        wrong = login("quay.io", password="hunter2")
        with pytest.raises(BadInput) as caught:
            sim.rent(sim.offer("container"), login=wrong)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["vm", "bare-metal"])
    def test_machines(self, sim: Simulated, kind: str) -> None:
        offer = sim.offer(kind)
        with pytest.raises(BadInput, match=r"os_options: Ubuntu Server 22\.04"):
            sim.rent(offer, image="windows")
        with pytest.raises(BadInput, match="public_key"):
            sim.rent(offer, public_key="")
        for field, value in (("onstart", "ls"), ("env", {"A": "1"}), ("ports", [80])):
            with pytest.raises(NotSupported, match=field):
                sim.rent(offer, **{field: value})
        assert sim.calls("create") == 0

    def test_the_newest_ubuntu_with_cuda_is_the_default(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("vm"))
        assert sim.machine(made).data["os_image"] == "ubuntu22.04_cuda12.4_shade_os"

    def test_the_api_itself_refuses_the_same_with_422_and_400(self, sim: Simulated) -> None:
        client = httpx.Client(
            transport=sim.provider.config.options["http"]["transport"],
            base_url="http://127.0.0.1",
            headers={"X-API-KEY": sim.cloud.key},
        )
        settings = {"image": "a:1", "expose": [{"port": "999999999"}]}
        plan = next(iter(sim.cloud.plans))
        body = {"plan_id": plan, "name": "a", "container_settings": settings, "ssh_key": PUBLIC_KEY}
        answer = client.post("/gpu/instances/", json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"][0] == {
            "type": "value_error",
            "loc": ["body", "container_settings", "expose", 0, "port"],
            "msg": "Value error, Port must be between 1 and 65535",
            "input": "999999999",
            "ctx": {"error": {}},
        }
        vm = {
            "plan_id": next(iter(sim.cloud.options["vms"])),
            "name": "a",
            "ssh_key": PUBLIC_KEY,
            "os_image": "sss",
        }
        said = client.post("/gpu/instances/vms", json=vm)
        assert said.status_code == 400
        assert said.json()["detail"].startswith(
            "Provided OS image sss is not supported for the selected offer."
        )

    def test_its_422_is_told_with_the_field_and_the_value(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from gpunb.providers.fluence import validation

        monkeypatch.setattr(validation, "check_env", lambda env, field="env": [{"name": "low", "value": "1"}])
        with pytest.raises(BadInput, match=r"container_settings\.environment\.0\.name is 'low'"):
            sim.rent(sim.offer("container"), env={"A": "1"})


class TestContainers:
    def test_deploy_with_everything(self, sim: Simulated) -> None:
        offer = sim.offer("container")
        made = sim.rent(
            offer,
            image="ghcr.io/me/model:v1",
            ports=[80, 8000],
            env={"MODEL_PATH": "/models"},
            login=login("ghcr.io", password="p"),
            start_command="serve",
            extra={"location": offer.region},
        )
        settings = sim.machine(made).data["settings"]
        assert [(row["port"], row["protocol"]) for row in settings["expose"]] == [
            ("22", "tcp"),
            ("80", "http"),
            ("8000", "tcp"),
        ]
        assert settings["environment"] == [{"name": "MODEL_PATH", "value": "/models"}]
        assert settings["credentials"] == {"host": "ghcr.io", "username": "u", "password": "p"}
        assert sim.machine(made).data["location"] == offer.region

    def test_onstart_would_replace_the_entrypoint_that_starts_ssh(self, sim: Simulated) -> None:
        with pytest.raises(NotSupported, match="onstart"):
            sim.rent(sim.offer("container"), onstart="ls")

    def test_ssh_is_root_at_the_external_port_of_22_and_ports_are_texts(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"), ports=[8080])
        sim.clock.advance(300)
        found = sim.provider.get(made.id)
        ports = found.raw["network"]["forwarded_ports"]
        assert all(isinstance(row["port"], str) and isinstance(row["external_port"], str) for row in ports)
        assert (found.user, found.port) == ("root", sim.machine(made).address[1])
        (outside,) = [row["external_port"] for row in ports if row["port"] == "8080"]
        assert found.ports == {"8080/tcp": f"{found.host}:{outside}"}, "SSH's own is not among them"

    def test_the_domain_of_an_active_instance_is_null_for_a_while(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        sim.clock.advance(152)
        found = sim.provider.get(made.id)
        assert found.raw_state == "ACTIVE/STARTED"
        assert (found.state, found.host) == (InstanceState.CREATING, "")
        sim.clock.advance(30)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING

    def test_active_while_its_container_never_starts(self, sim: Simulated) -> None:
        sim.cloud.faults.add("never-starts")
        made = sim.rent(sim.offer("container"))
        sim.clock.advance(300)
        found = sim.provider.get(made.id)
        assert found.raw_state == "ACTIVE/NOT_STARTED"
        assert found.state is InstanceState.CREATING
        assert "billed" in found.message
        assert "events" in found.message
        assert "[Warning] [BackOff] Back-off restarting" in sim.provider.events(made.id)[-1]

    def test_the_list_is_shorter_than_the_detail(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        sim.clock.advance(300)
        (listed,) = sim.provider.find("gpunb-test")
        assert "billing" not in listed.raw
        assert "network" not in listed.raw
        assert listed.state is InstanceState.RUNNING
        assert listed.port == 0, "the list does not say the port; the detail does"
        assert sim.provider.get(made.id).port > 0

    def test_logs_and_events_with_a_tail(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        sim.clock.advance(300)
        assert "port 22" in sim.provider.logs(made.id)
        assert len(sim.provider.logs(made.id, tail=1).splitlines()) == 1
        assert len(sim.provider.events(made.id, tail=2)) == 2
        with pytest.raises(BadInput, match="tail 0"):
            sim.provider.logs(made.id, tail=0)

    def test_an_update_replaces_everything_but_what_is_not_named_stays(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"), env={"A": "1"}, ports=[8000])
        sim.clock.advance(300)
        sim.provider.update(made.id, image="docker.io/fluencelabs/debian-ssh-root:12")
        waits = sim.provider.get(made.id)
        assert (waits.state, waits.message) == (InstanceState.CREATING, "the update is being applied")
        assert waits.image.endswith(":11"), "details show an update once it is complete"
        sim.clock.advance(60)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING
        settings = sim.machine(made).data["settings"]
        assert settings["image"].endswith(":12")
        assert settings["environment"] == [{"name": "A", "value": "1"}], "Fluence's own variable is not sent"
        assert sim.machine(made).data["ssh_key"] == PUBLIC_KEY, "and the key is, or nobody could log in"
        assert [row["port"] for row in settings["expose"]] == ["22", "8000"], "the ports can't be changed"

    def test_an_update_that_never_shows_is_believed_after_a_while(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sim.rent(sim.offer("container"))
        sim.clock.advance(300)
        sim.provider.update(made.id, env={"A": "1"})
        sim.machine(made).data.pop("update")
        sim.clock.advance(60)
        assert sim.provider.get(made.id).state is InstanceState.CREATING
        from gpunb.providers.fluence import provider as module

        monkeypatch.setattr(module.time, "monotonic", lambda _real=module.time.monotonic: _real() + 181)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING

    def test_an_update_without_ports_as_fluences_own_example_has_it(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"), ports=[8000])
        sim.clock.advance(300)
        settings = {"image": "docker.io/fluencelabs/debian-ssh-root:11", "startup_command": "serve"}
        body = {"name": "my-updated-container", "container_settings": settings, "ssh_key": PUBLIC_KEY}
        sim.provider.http.call("PUT", f"/gpu/instances/{made.id}", json=body, safe=False, expect=None)
        sim.clock.advance(60)
        assert sim.provider.get(made.id).command == "serve"
        assert len(sim.machine(made).data["settings"]["expose"]) == 2

    def test_a_second_update_is_refused_while_one_is_being_applied(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        sim.clock.advance(300)
        sim.provider.update(made.id, env={"A": "1"})
        with pytest.raises(NotYet, match="still being applied"):
            sim.provider.update(made.id, env={"A": "2"})
        sim.clock.advance(60)
        sim.provider.rename(made.id, "another")
        assert sim.machine(made).data["settings"]["environment"] == [{"name": "A", "value": "1"}]

    def test_default_images_say_whether_they_need_a_key(self, sim: Simulated) -> None:
        assert all(row["requires_ssh"] for row in sim.provider.default_images())


class TestMachines:
    def test_ssh_connection_is_a_command_line(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("vm"))
        assert sim.provider.get(made.id).host == ""
        sim.clock.advance(300)
        found = sim.provider.get(made.id)
        assert (found.user, found.host, found.port) == ("ubuntu", *sim.machine(made).address)
        assert found.raw["availability"] == "vm"

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("ssh ubuntu@216.81.248.90", ("ubuntu", "216.81.248.90", 22)),
            ("ssh -p 2222 root@h.example", ("root", "h.example", 2222)),
            (None, ("ubuntu", "", 0)),
            ("ssh 'broken", ("ubuntu", "", 0)),
        ],
    )
    def test_ways_to_write_it(self, line: str | None, expected: tuple[str, str, int]) -> None:
        from gpunb.providers.fluence.mapping import instance

        found = instance({"id": "a", "status": "ACTIVE", "ssh_connection": line}, "vm")
        assert (found.user, found.host, found.port) == expected

    def test_a_port_that_is_forwarded_is_the_one_to_call(self) -> None:
        from gpunb.providers.fluence.mapping import instance

        network = {"forwarded_ports": [{"port": "22", "external_port": "40022", "protocol": "tcp"}]}
        row = {"id": "a", "status": "ACTIVE", "ssh_connection": "ssh shadeform@192.0.2.7", "network": network}
        found = instance(row, "vm")
        assert (found.user, found.host, found.port) == ("shadeform", "192.0.2.7", 40022)

    def test_fluence_takes_the_label_of_every_attempt(self) -> None:
        from gpunb.providers.fluence.validation import check_name
        from gpunb.sessions.ledger.sessions import label_for, new_id

        session = new_id()
        made = [label_for("0123456789abcdef", session, attempt) for attempt in range(1, 1296)]
        assert len(set(map(check_name, made))) == len(made)
        assert made[:3] == [f"gpunb-01234567-{session}{end}" for end in ("", "-2", "-3")]

    @pytest.mark.parametrize("kind", ["vm", "bare-metal"])
    def test_only_the_name_can_be_changed(self, sim: Simulated, kind: str) -> None:
        made = sim.rent(sim.offer(kind))
        sim.provider.rename(made.id, "another")
        assert sim.provider.find("another")[0].id == made.id
        with pytest.raises(NotSupported, match="only rename"):
            sim.provider.update(made.id, image="x")


class TestCancelledBeforeActive:
    """Only an ACTIVE instance can be deleted: one cancelled while INITIALIZED is remembered."""

    def test_it_is_ended_as_soon_as_it_is_active_by_whoever_lists(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        sim.provider.destroy(made.id)
        assert sim.calls("destroy") == 0
        (found,) = sim.provider.find("gpunb-test")
        assert found.state is InstanceState.ENDING
        assert "only when it is ACTIVE" in found.message
        assert sim.provider.presence(made.id) is Presence.PRESENT
        sim.clock.advance(200)
        other = sim.again()  # another process, after a crash of the first
        other.instances()
        assert sim.calls("destroy") == 1
        sim.clock.advance(30)
        assert other.presence(made.id) is Presence.GONE
        assert sim.cloud.billed_now() == []
        other.instances()
        assert sim.provider.cancelled.ids() == set()

    @pytest.mark.parametrize("kind", ["vm", "bare-metal"])
    def test_machines_too(self, sim: Simulated, kind: str) -> None:
        made = sim.rent(sim.offer(kind))
        sim.provider.destroy(made.id)
        sim.clock.advance(200)
        sim.provider.instances()
        sim.clock.advance(30)
        assert sim.provider.presence(made.id) is Presence.GONE

    def test_it_is_remembered_before_the_first_question(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        sim.cloud.faults.add("timeout-before", "get", times=None)
        with pytest.raises(Exception, match="did not answer"):
            sim.provider.destroy(made.id)
        sim.cloud.faults.clear()
        sim.clock.advance(300)
        sim.provider.instances()
        sim.clock.advance(30)
        assert sim.provider.presence(made.id) is Presence.GONE

    def test_a_failed_one_is_forgotten_and_costs_nothing(self, sim: Simulated) -> None:
        offer = sim.offer("container")
        sim.cloud.faults.add("double-buy")
        made = sim.rent(offer)
        sim.provider.destroy(made.id)
        sim.clock.advance(200)
        assert sim.provider.find("gpunb-test")[0].state is InstanceState.FAILED
        assert sim.provider.cancelled.ids() == set()
        assert sim.provider.presence(made.id) is Presence.GONE
        assert sim.bill(made) == pytest.approx(0.0), "a FAILED deployment is refunded whole"

    def test_an_unknown_one_is_not_remembered(self, sim: Simulated) -> None:
        with pytest.raises(InstanceGone):
            sim.provider.destroy("3fa85f64-5717-4562-b3fc-2c963f66afa6")
        assert sim.provider.cancelled.ids() == set()


class TestMoney:
    def test_clock_hours(self) -> None:
        start = 15 * HOUR
        assert billed_hours(start + 1, start + 60) == 1
        assert billed_hours(start + 1, start + HOUR) == 1
        assert billed_hours(start + 3540, start + 3660) == 2
        assert billed_hours(start, start) == 1
        assert next_edge(start + 1) == next_edge(start) == start + HOUR

    @pytest.mark.parametrize("minutes", [4, 58])
    def test_ending_at_the_first_and_at_the_last_minute_of_an_hour_costs_the_same(
        self, sim: Simulated, minutes: int
    ) -> None:
        made = sim.rent(sim.offer("container"))
        sim.clock.advance((minutes - 1) * 60)
        sim.provider.get(made.id)
        sim.provider.destroy(made.id)
        sim.clock.advance(7200)
        assert sim.bill(made) == pytest.approx(made.usd_h)
        assert sim.provider.usage(made.id)[0].usd == pytest.approx(made.usd_h)

    def test_a_few_minutes_over_the_edge_are_two_hours(self, home: Path) -> None:
        clock = Clock.virtual(500_000 * HOUR - 200)
        sim = in_process("fluence", clock=clock)
        made = sim.rent(sim.offer("container"))
        start = clock.now()
        clock.advance(300)
        sim.provider.destroy(made.id)
        hours = billed_hours(start, clock.now())
        assert hours == 2
        assert sim.bill(made) == pytest.approx(hours * made.usd_h)

    def test_three_hours_must_be_there_and_two_are_reserved(self, sim: Simulated) -> None:
        offer = sim.offer("container")
        account = next(iter(sim.cloud.accounts.values()))
        account.deposit = offer.usd_h * 2.9
        with pytest.raises(NoFunds, match="Insufficient balance"):
            sim.rent(offer)
        account.deposit = offer.usd_h * 3
        made = sim.rent(offer)
        billing = sim.provider.detail(made.id)["billing"]
        assert billing["total_spendings"] == pytest.approx(offer.usd_h)
        assert billing["reserved_amount"] == pytest.approx(2 * offer.usd_h)
        assert account.balance(sim.clock.now()) == pytest.approx(0.0)

    def test_the_reserve_comes_back_at_the_end(self, sim: Simulated) -> None:
        made = sim.rent(sim.offer("container"))
        account = next(iter(sim.cloud.accounts.values()))
        sim.clock.advance(300)
        sim.provider.get(made.id)
        sim.provider.destroy(made.id)
        sim.clock.advance(60)
        sim.provider.instances()
        assert account.balance(sim.clock.now()) == pytest.approx(account.deposit - made.usd_h)

    def test_without_money_it_runs_to_the_end_of_the_paid_hours(self, sim: Simulated) -> None:
        offer = sim.offer("container")
        next(iter(sim.cloud.accounts.values())).deposit = offer.usd_h * 3
        made = sim.rent(offer)
        sim.clock.advance(2.5 * HOUR)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING
        sim.clock.advance(HOUR)
        assert sim.provider.presence(made.id) is Presence.GONE
        assert sim.bill(made) == pytest.approx(3 * offer.usd_h)

    @pytest.mark.parametrize("length", [0.2, 1.0, 1.5, 2.0])
    def test_no_bill_is_more_than_the_offers_total(self, sim: Simulated, length: float) -> None:
        offer = sim.offer("container")
        most = max(billed_hours(begin * 60.0, begin * 60.0 + length * HOUR) for begin in range(60))
        assert offer.total(length) == pytest.approx(most * offer.usd_h)
        later = [
            billed_hours(begin * 60.0, begin * 60.0 + (2 + length) * HOUR)
            - billed_hours(begin * 60.0, begin * 60.0 + 2 * HOUR)
            for begin in range(60)
        ]
        assert offer.total(length, more=True) == pytest.approx(max(later) * offer.usd_h)

    def test_the_bill_of_twenty_minutes_is_what_was_shown(self, home: Path) -> None:
        clock = Clock.virtual(500_000 * HOUR - 600)
        sim = in_process("fluence", clock=clock)
        offer = sim.offer("container")
        made = sim.rent(offer)
        clock.advance(1200)
        sim.provider.destroy(made.id)
        assert sim.bill(made) == pytest.approx(offer.total(1 / 3)) == pytest.approx(2 * offer.usd_h)


class TestAccount:
    def test_a_wrong_key_is_403(self, sim: Simulated) -> None:
        made = sim.rent()
        sim.cloud.accounts = {"other": next(iter(sim.cloud.accounts.values()))}
        with pytest.raises(AuthFailed):
            sim.provider.check()
        with pytest.raises(AuthFailed):
            sim.provider.search(OfferQuery())
        assert sim.provider.presence(made.id) is Presence.UNKNOWN

    def test_keys_live_beside_the_gpu_api(self, sim: Simulated) -> None:
        sim.provider.add_ssh_key("laptop", PUBLIC_KEY)
        sim.provider.add_ssh_key("laptop again", PUBLIC_KEY)  # 200: the fingerprint is known
        (row,) = sim.provider.ssh_keys()
        sim.provider.delete_ssh_key(row["fingerprint"])
        assert sim.provider.ssh_keys() == []

    def test_a_plan_that_is_no_longer_available(self, sim: Simulated) -> None:
        offer = sim.offer("vm")
        sim.cloud.options["vms"].clear()
        with pytest.raises(OfferGone, match="no longer available"):
            sim.rent(offer)

    def test_a_missing_route_is_not_a_missing_instance(self, sim: Simulated) -> None:
        from gpunb.providers.fluence.api import client

        assert client("https://api.fluence.dev/gpu/", None, {}).base_url == "https://api.fluence.dev"
        transport = sim.provider.config.options["http"]["transport"]
        transport.handle_request = lambda request: httpx.Response(
            404, json={"detail": "Not Found"}, request=request
        )
        with pytest.raises(Exception, match="404") as caught:
            sim.provider.get("3fa85f64-5717-4562-b3fc-2c963f66afa6")
        assert not isinstance(caught.value, InstanceGone)
