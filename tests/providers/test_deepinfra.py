"""DeepInfra against its simulation; each test names the fact of DeepInfra's own pages that it holds."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.rentals.schemas import check
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import AuthFailed, BadInput, InstanceGone, NoFunds, OfferGone, ProviderError
from gpunb.providers import CreateSpec, InstanceState, OfferQuery, Presence
from gpunb.providers.contract import ProviderContract
from gpunb.providers.deepinfra import TERMS
from gpunb.ssh.keys import generate_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sim(home: Path) -> Simulated:
    return in_process("deepinfra")


class TestContract(ProviderContract):
    @pytest.fixture
    def provider(self, home: Path) -> Iterator[Any]:
        with served("deepinfra", boot_s=0.2) as sim:
            yield sim.provider


class TestOffers:
    def test_gpu_config_is_count_model_and_memory(self, sim: Simulated) -> None:
        found = {offer.id: offer for offer in sim.provider.search(OfferQuery())}
        offer = found["2xB200-180GB"]
        assert (offer.gpus, offer.gpu_raw, offer.vram_gb, offer.kind) == (2, "B200", 180.0, "container")
        assert offer.usd_h == sim.cloud.gpus["2xB200-180GB"]["usd_per_hour"]
        assert offer.increment_s == 60.0, "pay by the minute"

    def test_out_of_capacity_is_shown_as_not_available(self, sim: Simulated) -> None:
        sim.cloud.gpus["1xH200-141GB"]["available"] = False
        found = {offer.id: offer.available for offer in sim.provider.search(OfferQuery())}
        assert found["1xH200-141GB"] == 0
        assert found["1xB200-180GB"] == 1

    @pytest.mark.parametrize(
        "row",
        [{"gpu_config": "a cow", "usd_per_hour": 1, "available": True}, {"gpu_config": "1xA-80GB"}, 7, None],
    )
    def test_a_row_that_cannot_be_read_is_left_out_and_told(
        self, sim: Simulated, row: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        sim.cloud.gpus["odd"] = row
        with caplog.at_level(logging.WARNING):
            assert len(sim.provider.search(OfferQuery())) == sim.cloud.offer_count
        assert "left out" in caplog.text

    def test_unknown_fields_are_kept(self, sim: Simulated) -> None:
        sim.cloud.gpus["1xB200-180GB"]["cooling"] = "liquid"
        offer = next(found for found in sim.provider.search(OfferQuery()) if found.id == "1xB200-180GB")
        assert offer.raw["cooling"] == "liquid"


class TestTerms:
    def test_nothing_is_rented_before_the_terms_are_accepted(self, home: Path) -> None:
        sim = in_process("deepinfra", config={"accept_terms": False})
        with pytest.raises(BadInput) as caught:
            sim.rent()
        assert caught.value.message == TERMS
        assert "NVIDIA" in TERMS
        assert "mining" in TERMS
        assert "--accept-terms" in str(caught.value.hint)
        assert caught.value.bill == "nothing was rented"
        assert sim.calls("create") == 0

    @pytest.mark.parametrize("accepted", [True, "true", "1", "yes"])
    def test_accepted_once_in_settings(self, home: Path, accepted: object) -> None:
        assert in_process("deepinfra", config={"accept_terms": accepted}).rent().id


class TestCreate:
    def test_one_request_and_the_id_at_once(self, sim: Simulated) -> None:
        made = sim.rent(image="di-cont-ubuntu-cuda:latest")
        assert sim.calls("create") == 1
        assert sim.machine(made).data["image"] == "di-cont-ubuntu-cuda:latest"
        assert (made.state, made.user, made.host) == (InstanceState.CREATING, "ubuntu", "")

    def test_cloud_init_carries_user_key_host_key_lease_and_environment(self, sim: Simulated) -> None:
        private, public = generate_host_key()
        made = sim.rent(
            host_key=private, env={"NOTE": 'it\'s "so"\t#1'}, onstart="echo done", deadline=1_800_007_200.0
        )
        text = sim.machine(made).data["user_data"]
        assert text.startswith("#cloud-config\n")
        config = json.loads(text.partition("\n")[2])
        (user,) = config["users"]
        assert user["name"] == "ubuntu"
        assert user["ssh_authorized_keys"] == [PUBLIC_KEY]
        assert config["ssh_keys"]["ed25519_private"] == private
        assert made.host_key is not None
        assert made.host_key.split()[:2] == public.split()[:2]
        assert '"deadline": 1800007200.0' in config["runcmd"][0][2]
        assert config["runcmd"][1] == ["/bin/bash", "-c", "echo done"]
        assert 'NOTE=it\'s "so"\t#1' in config["write_files"][0]["content"]

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ({"label": ""}, "1 to 64"),
            ({"label": "x" * 65}, "65 characters"),
            ({"onstart": "#" * 40_000}, "32000"),
            ({"env": {"2X": "1"}}, "2X"),
            ({"env": {"A": "1\n2"}}, "line end"),
            ({"host_key": "not a key"}, "OpenSSH"),
        ],
    )
    def test_what_deepinfra_would_refuse_is_refused_here(
        self, sim: Simulated, spec: dict, words: str
    ) -> None:
        with pytest.raises(BadInput, match=words):
            sim.rent(**spec)
        assert sim.calls("create") == 0

    def test_out_of_capacity(self, sim: Simulated) -> None:
        offer = sim.offer()
        sim.cloud.gpus[offer.id]["available"] = False
        with pytest.raises(OfferGone, match="out of capacity"):
            sim.rent(offer)

    def test_the_gpu_limit_is_an_account_limit(self, sim: Simulated) -> None:
        sim.cloud.limits_by_type = dict.fromkeys(sim.cloud.limits_by_type, 0)
        with pytest.raises(NoFunds, match="GPU limit"):
            sim.rent()

    def test_there_is_no_idempotency_key_so_the_name_finds_it(self, sim: Simulated) -> None:
        sim.rent(label="gpunb-a")
        sim.rent(label="gpunb-b")
        assert [found.label for found in sim.provider.find("gpunb-b")] == ["gpunb-b"]


class TestLife:
    def test_states_and_address(self, sim: Simulated) -> None:
        made = sim.rent()
        seen = []
        for _ in range(6):
            found = sim.provider.get(made.id)
            seen.append((found.raw_state, found.state.value, bool(found.host)))
            sim.clock.advance(15)
        assert seen[0] == ("creating", "creating", False)
        assert ("starting", "creating", False) in seen
        assert seen[-1] == ("running", "running", True)
        sim.provider.destroy(made.id)
        assert sim.provider.get(made.id).raw_state == "shutting_down"
        sim.clock.advance(10)
        assert sim.provider.get(made.id).state is InstanceState.GONE

    def test_running_without_an_address_is_not_ready(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sim.rent()
        sim.clock.advance(60)
        row = sim.cloud.row
        monkeypatch.setattr(sim.cloud, "row", lambda machine: {**row(machine), "ip": None})
        assert sim.provider.get(made.id).state is InstanceState.CREATING

    @pytest.mark.parametrize(
        ("ip", "port"), [("203.0.113.9", 22), ("127.0.0.1:4022", 4022), ("2001:db8::1", 22)]
    )
    def test_ssh_is_port_22_unless_the_address_names_one(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch, ip: str, port: int
    ) -> None:
        made = sim.rent()
        sim.clock.advance(60)
        row = sim.cloud.row
        monkeypatch.setattr(sim.cloud, "row", lambda machine: {**row(machine), "ip": ip})
        found = sim.provider.get(made.id)
        assert (found.host, found.port) == (ip.removesuffix(":4022"), port)

    def test_an_unknown_state_is_unknown_and_present(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sim.rent()
        monkeypatch.setattr(sim.cloud, "state_word", lambda machine: "hibernating")
        found = sim.provider.get(made.id)
        assert (found.state, found.raw_state) == (InstanceState.UNKNOWN, "hibernating")
        assert sim.provider.presence(made.id) is Presence.PRESENT

    def test_active_and_inactive_are_both_listed(self, sim: Simulated) -> None:
        first, second = sim.rent(label="one"), sim.rent(label="two")
        sim.provider.destroy(first.id)
        sim.clock.advance(30)
        states = {found.id: found.state for found in sim.provider.instances()}
        assert states == {first.id: InstanceState.GONE, second.id: InstanceState.CREATING}

    def test_a_failed_container_stays_in_the_inactive_list_with_its_reason_and_costs_nothing(
        self, sim: Simulated
    ) -> None:
        made = sim.rent(image="no-such-image:1")
        sim.clock.advance(120)
        found = sim.provider.find("gpunb-test")[0]
        assert found.state is InstanceState.FAILED
        assert "no-such-image:1 could not be pulled" in found.message
        assert sim.provider.presence(made.id) is Presence.GONE
        assert sim.bill(made) == 0

    def test_rename(self, sim: Simulated) -> None:
        made = sim.rent()
        sim.provider.rename(made.id, "another")
        assert [found.id for found in sim.provider.find("another")] == [made.id]
        with pytest.raises(BadInput, match="1 to 64"):
            sim.provider.rename(made.id, "")

    def test_a_proxys_404_is_not_the_end_of_an_instance(self, sim: Simulated) -> None:
        made = sim.rent()
        transport = sim.provider.config.options["http"]["transport"]
        real = transport.handle_request

        def broken(request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith("/v1/containers/"):
                return httpx.Response(404, text="<h1>Not Found</h1>", request=request)
            return real(request)  # type: ignore[no-any-return]

        transport.handle_request = broken
        with pytest.raises(ProviderError) as caught:
            sim.provider.get(made.id)
        assert not isinstance(caught.value, InstanceGone)


class TestMoney:
    def test_usage_is_seconds_at_the_containers_price(self, sim: Simulated) -> None:
        made = sim.rent()
        sim.clock.advance(40 + 1800)
        (line,) = sim.provider.usage(made.id)
        assert line.usd == pytest.approx(sim.bill(made), abs=0.005)
        assert line.usd == pytest.approx(made.usd_h / 2, abs=0.005)
        sim.provider.destroy(made.id)
        sim.clock.advance(9999)
        assert sim.provider.usage(made.id)[0].usd == pytest.approx(line.usd)

    def test_limits_and_params_are_shown_as_they_are(self, sim: Simulated) -> None:
        assert sim.provider.gpu_limits()["B200"] == 64
        assert "di-cont-ubuntu-torch:latest" in sim.provider.params()["container_images"]

    def test_account_keys(self, sim: Simulated) -> None:
        key_id = sim.provider.add_ssh_key("laptop", PUBLIC_KEY)
        assert [row["name"] for row in sim.provider.ssh_keys()] == ["laptop"]
        with pytest.raises(BadInput, match="already exists"):
            sim.provider.add_ssh_key("laptop", PUBLIC_KEY)
        sim.provider.delete_ssh_key(key_id)
        assert sim.provider.ssh_keys() == []


def test_a_wrong_key_is_401(sim: Simulated) -> None:
    made = sim.rent()
    sim.cloud.accounts = {"another": next(iter(sim.cloud.accounts.values()))}
    with pytest.raises(AuthFailed) as caught:
        sim.provider.check()
    assert caught.value.hint == "gpunb login deepinfra"
    assert sim.provider.presence(made.id) is Presence.UNKNOWN, (
        "a key that is refused says nothing of an instance"
    )


def test_the_simulations_answers_fit_deepinfras_published_schemas(sim: Simulated) -> None:
    made = sim.rent()
    sim.rent(label="gpunb-fails", image="nope:1")
    sim.clock.advance(100)
    client = httpx.Client(
        transport=sim.provider.config.options["http"]["transport"],
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {sim.cloud.key}"},
    )
    body = CreateSpec(label="x", public_key=PUBLIC_KEY)
    start = {
        "name": body.label,
        "gpu_config": "1xB200-180GB",
        "container_image": "a",
        "cloud_init_user_data": "b",
    }
    one = "/v1/containers/{container_id}"
    calls = [
        ("GET", "/v1/containers/params", {}, 200),
        ("GET", "/v1/containers/gpu_availability", {}, 200),
        ("POST", "/v1/containers", {"json": start}, 200),
        ("POST", "/v1/containers", {"json": {**start, "gpu_config": "9xZ"}}, 400),
        ("POST", "/v1/containers", {"json": {**start, "name": ""}}, 422),
        ("POST", "/v1/containers", {"json": start, "headers": {"Authorization": "Bearer no"}}, 401),
        ("GET", "/v1/containers", {}, 200),
        ("GET", "/v1/containers", {"params": {"state": "inactive"}}, 200),
        ("GET", one, {}, 200),
        ("PATCH", one, {"json": {"name": "new"}}, 200),
        ("PATCH", one, {"json": {"name": "new", "more": 1}}, 422),
        ("GET", "/payment/usage/rent", {"params": {"from": 0}}, 200),
        ("GET", "/payment/usage/rent", {}, 422),
        ("GET", "/v1/me/gpu_limit", {}, 200),
        ("POST", "/v1/ssh_keys", {"json": {"name": "a", "key": PUBLIC_KEY}}, 200),
        ("POST", "/v1/ssh_keys", {"json": {"name": "a", "key": PUBLIC_KEY}}, 409),
        ("GET", "/v1/ssh_keys", {}, 200),
        ("DELETE", one, {}, 200),
    ]
    for method, path, more, status in calls:
        answer = client.request(method, path.replace("{container_id}", made.id), **more)
        assert answer.status_code == status, (method, path, answer.text)
        check("deepinfra", f"{method} {path}", status, answer.json())
    sim.cloud.faults.add("rate-limit", "create")
    limited = client.post("/v1/containers", json=start)
    assert limited.status_code == 429
    check("deepinfra", "POST /v1/containers", 429, limited.json())
    missing = client.get("/v1/containers/nothing")
    check("deepinfra", f"GET {one}", 404, missing.json())


@pytest.mark.slow
def test_the_injected_host_key_is_the_one_that_ssh_sees(home: Path, tmp_path: Path) -> None:
    import paramiko

    from gpunb.sim.hosts.real import RealHosts
    from gpunb.ssh.keys import generate

    pair = generate(tmp_path / "keys", comment="test")
    private, public = generate_host_key()
    with served("deepinfra", boot_s=0.0, hosts=RealHosts(tmp_path / "hosts")) as sim:
        sim.cloud.faults.add("key-late", seconds=0.6)
        made = sim.rent(
            public_key=pair.public_line,
            host_key=private,
            env={"NOTE": "it's"},
            onstart="echo $NOTE > ~/started",
        )
        sim.cloud.wait_for_hosts()
        found = sim.provider.get(made.id)
        assert found.state is InstanceState.RUNNING
        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            kind, text = public.split()[:2]
            name = f"[{found.host}]:{found.port}"
            line = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {text}")
            assert line is not None
            client.get_host_keys().add(name, kind, line.key)

            def login() -> None:
                client.connect(
                    found.host,
                    found.port,
                    username=found.user,
                    key_filename=str(pair.private),
                    look_for_keys=False,
                    allow_agent=False,
                )

            with pytest.raises(paramiko.AuthenticationException):
                login()  # the host is up and its key is ours; the user's key comes later
            sim.clock.advance(1.0)
            sim.provider.get(made.id)
            for _ in range(50):
                try:
                    login()
                    break
                except paramiko.AuthenticationException:
                    continue
            _, out, _ = client.exec_command(
                "cat ~/started; nvidia-smi --query-gpu=name --format=csv,noheader"
            )
            assert out.read().decode().splitlines() == ["it's", f"NVIDIA {sim.machine(made).data['gpu']}"]
        sim.provider.destroy(made.id)
    assert list((tmp_path / "hosts").iterdir()) == []
