"""Recorded and published answers of the clouds, one file each with its source, and what gpunb makes of them.

Our providers and our simulations have the same authors; these answers have others. A record is replayed
to the provider byte for byte. Every file in this folder must be used below.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.rentals.simulated import PUBLIC_KEY

from gpunb.errors import (
    AuthFailed,
    BadInput,
    GpunbError,
    InstanceGone,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Unavailable,
)
from gpunb.providers import CreateSpec, InstanceState, Offer, OfferQuery, ProviderConfig, provider_class
from gpunb.providers.base import Presence

HERE = Path(__file__).parent
RUNNING, STOPPED, CREATING, FAILED = (
    InstanceState.RUNNING,
    InstanceState.STOPPED,
    InstanceState.CREATING,
    InstanceState.FAILED,
)


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text())
    return found


class Cloud:
    """A provider whose every call is answered with records, in turn; the last one stays."""

    def __init__(self, *names: str | dict[str, Any], **options: Any) -> None:
        self.answers = [record(name) if isinstance(name, str) else name for name in names]
        first = next(name for name in names if isinstance(name, str))
        self.cloud = first.split("-", maxsplit=1)[0]
        self.sent: list[tuple[str, str, Any]] = []
        http = {
            "transport": httpx.MockTransport(self.answer),
            "sleep": lambda _s: None,
            "attempts": 1,
            "pace": 0.0,
        }
        options = {"http": http, "accept_terms": True, **options}
        config = ProviderConfig(base_url="http://127.0.0.1:9", key=SecretStr("k" * 40), options=options)
        self.provider: Any = provider_class(self.cloud)(config)

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.sent.append((request.method, request.url.path, body))
        one = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        content = one["body"] if isinstance(one["body"], str) else json.dumps(one["body"])
        return httpx.Response(
            one["status"],
            content=b"" if one["body"] is None else content.encode(),
            headers={"Content-Type": "application/json", **one.get("headers", {})},
        )


def an_offer(cloud: str) -> Offer:
    return Offer(
        provider=cloud, id="1234567", gpu="H100 SXM", gpus=1, vram_gb=80, usd_h=2.0, rental="on-demand"
    )


def create(cloud: Cloud) -> Any:
    return cloud.provider.create(an_offer(cloud.cloud), CreateSpec(label="gpunb-x", public_key=PUBLIC_KEY))


def search(cloud: Cloud) -> Any:
    return cloud.provider.search(OfferQuery())


def get(cloud: Cloud) -> Any:
    return cloud.provider.get("33402296")


def destroy(cloud: Cloud) -> Any:
    return cloud.provider.destroy("12345")


#: record -> call -> the error that must come, and words that it must hold
REFUSALS: dict[str, tuple[Callable[[Cloud], Any], type[GpunbError], str]] = {
    "vast-create-stale-400": (create, OfferGone, "no_such_ask"),
    "vast-create-stale-404": (create, OfferGone, "no_such_ask"),
    "vast-create-stale-410": (create, OfferGone, "no longer available"),
    "vast-create-msg-only-400": (create, OfferGone, "no_such_ask"),
    "vast-create-400-empty": (create, OfferGone, "without a reason"),
    "vast-create-429": (create, RateLimited, "too soon"),
    "vast-create-no-credit": (create, NoFunds, "lacks credit"),
    "vast-401-tfa": (get, AuthFailed, "two factors"),
    "vast-429-detail": (get, RateLimited, "threshold=4.5"),
    "vast-search-quota": (search, QuotaExhausted, "quota"),
    "vast-wrong-key": (get, AuthFailed, "gpunb login vast"),
    "vast-v0-list-dead": (get, ProviderError, "use /api/v1/instances/"),
    "vast-show-null": (get, InstanceGone, "no instance"),
    "deepinfra-invalid-config": (create, BadInput, "Invalid gpu_config"),
    "deepinfra-403-nested": (create, AuthFailed, "Not authenticated\nnext: gpunb login deepinfra"),
    "deepinfra-422": (create, BadInput, ": gpu_config: Field required"),
    "fluence-no-money": (create, NoFunds, "Insufficient balance"),
    "fluence-wrong-os": (create, BadInput, "Available OS images: Ubuntu Server 22.04"),
    "fluence-invalid": (create, BadInput, "container_settings.expose.0.port is '999999999': Port must be"),
    "sesterce-403": (search, AuthFailed, "API key invalid"),
    "sesterce-400-list": (search, BadInput, "region must be a string; vm.os should not be empty"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_means(name: str) -> None:
    call, kind, words = REFUSALS[name]
    cloud = Cloud(name)
    offer = an_offer(cloud.cloud)
    assert offer
    with pytest.raises(kind) as caught:
        call(cloud)
    assert words in str(caught.value)
    if call is create:
        assert getattr(caught.value, "effect", "none") == "none"
        assert sum(method in {"PUT", "POST"} for method, _, _ in cloud.sent) == 1, (
            "a create is never repeated"
        )


MADE_UP = {  # of the same kinds; each body is a published wording
    "not-found": (
        destroy,
        {"success": False, "error": "not_found", "msg": "Instance 12345 not found."},
        404,
        None,
    ),
    "not-own": (get, {"success": False, "msg": "This instance is not your own"}, 403, "another account"),
    "retry-after": (get, {"detail": "too soon", "retry_after": 7}, 429, "too soon"),
    "cloudflare": (search, "error code: 1010", 403, "another network"),
}


@pytest.mark.parametrize("name", MADE_UP)
def test_siblings_of_the_records(name: str) -> None:
    call, body, status, words = MADE_UP[name]
    cloud = Cloud("vast-user", options={})
    cloud.answers = [{"status": status, "body": body}]
    if words is None:
        assert call(cloud) is None
        return
    with pytest.raises(ProviderError) as caught:
        call(cloud)
    assert words in str(caught.value)
    if name == "retry-after":
        assert caught.value.retry_after == 7
    if name == "cloudflare":
        assert isinstance(caught.value, Unavailable)


def test_gone_is_gone_also_where_the_words_are_one_level_down() -> None:
    """DeepInfra wraps its words where its document says that it does not; else an end is never confirmed."""
    for body, error in (
        ({"detail": {"error": "Container not found"}}, InstanceGone),
        ({"detail": "Not Found"}, ProviderError),  # its web framework knows no such path: a proxy's, too
        ({"error": {"message": "no route"}}, ProviderError),
        ("<html>", ProviderError),
    ):
        cloud = Cloud("deepinfra-running")
        cloud.answers = [{"status": 404, "body": body}]
        with pytest.raises(error) as caught:
            cloud.provider.get("container-0a1b2c3d")
        assert isinstance(caught.value, InstanceGone) is (error is InstanceGone)


def test_a_bid_that_is_lost_leaves_no_instance_behind() -> None:
    gone = {"status": 404, "body": {"success": False, "error": "no_such_instance", "msg": "gone"}}
    none = {"status": 200, "body": {"success": True, "instances": [], "instances_found": 0}}
    cloud = Cloud("vast-create-lost-bid", {"status": 200, "body": {"success": True}}, gone, none)
    with pytest.raises(ProviderError):
        create(cloud)
    assert any(method == "DELETE" and "49227715" in path for method, path, _ in cloud.sent)
    found = Cloud("vast-instance-sparse").provider.get("883")
    assert (found.state, found.host, found.port, found.usd_h) == (RUNNING, "ssh2281.vast.ai", 10882, 0.0)


def test_sesterce_says_not_found_of_the_key() -> None:
    cloud = Cloud("sesterce-404-shape")
    cloud.answers = [
        {"status": 404, "body": {"message": "API key not found", "path": "/gpu-cloud/instances/1"}}
    ]
    with pytest.raises(AuthFailed):
        cloud.provider.get("66aa00000000000000000001")


def test_a_gone_instance_can_be_destroyed_again() -> None:
    assert destroy(Cloud("vast-destroy-no-such-instance")) is None
    with pytest.raises(InstanceGone):
        Cloud("sesterce-404-shape").provider.get("66aa00000000000000000001")


def test_a_queued_start_is_taken_back_and_looked_at() -> None:
    cloud = Cloud("vast-start-queued", {"status": 200, "body": {"success": True}}, "vast-instance-stopped")
    with pytest.raises(ProviderError) as caught:
        cloud.provider.start("33402296")
    assert caught.value.effect == "none"
    assert "was cancelled" in caught.value.message
    assert [body for _, _, body in cloud.sent[:2]] == [{"state": "running"}, {"state": "stopped"}]


def test_a_queued_start_that_stays_is_an_unknown_outcome() -> None:
    cloud = Cloud(
        "vast-start-queued", {"status": 200, "body": {"success": True}}, "vast-instance-queued-start"
    )
    with pytest.raises(OutcomeUnknown) as caught:
        cloud.provider.start("33402296")
    assert "starts, and is billed, when the GPU is free" in str(caught.value.bill)


@pytest.mark.parametrize(
    ("name", "state", "host", "usd_h"),
    [
        ("vast-instance-running", RUNNING, "203.0.113.138", 0.8021),
        ("vast-instance-stopped", STOPPED, "", 0.8021),
        ("vast-instance-queued-start", STOPPED, "", 0.8021),
        ("vast-instance-restarting-exited", CREATING, "", 0.8021),
        ("vast-instance-ports-list", CREATING, "", 0.8021),
    ],
)
def test_an_instance_of_vast(name: str, state: InstanceState, host: str, usd_h: float) -> None:
    found = get(Cloud(name))
    assert (found.state, found.host, found.usd_h) == (state, host, usd_h)
    assert found.stopped_usd_h == 0.0021
    if name.endswith("queued-start"):
        assert "waits for its GPU" in found.message


def test_exited_while_it_is_to_run_is_a_failure_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud("vast-instance-restarting-exited")
    assert get(cloud).state is CREATING
    from gpunb.providers.vast import provider as module

    monkeypatch.setattr(module.time, "monotonic", lambda _real=module.time.monotonic: _real() + 61)
    assert get(cloud).state is FAILED


def test_the_list_of_vast() -> None:
    (found,) = Cloud("vast-instance-list").provider.instances()
    assert (found.id, found.label, found.port) == ("33402296", "gpunb-x", 30022)
    assert Cloud("vast-instance-list").provider.presence("33402296") is Presence.PRESENT


def test_a_create_of_vast_is_one_call() -> None:
    cloud = Cloud("vast-create-ok", "vast-instance-running", {"status": 200, "body": {"success": True}})
    assert create(cloud).id == "33402296"
    assert sum("/asks/" in path for _, path, _ in cloud.sent) == 1


def test_volumes_of_vast() -> None:
    assert Cloud("vast-volume-created").provider.create_volume("7", 20, "data") == "38186467"
    used, idle = Cloud("vast-volumes").provider.volumes()
    assert (used.id, used.instances, used.name) == ("38186467", ("33402296",), "gpunb_abcdefgh_data")
    assert (idle.instances, idle.usd_h) == ((), 0.003)


def test_a_volume_that_counts_as_in_use_for_a_moment_is_deleted_all_the_same() -> None:
    busy = {
        "status": 400,
        "body": {"success": False, "error": "in_use", "msg": "Volume is in use by instance 7"},
    }
    cloud = Cloud("vast-volumes")
    idle = {"status": 200, "body": {"volumes": []}}
    cloud.answers = [busy, idle, busy, idle, {"status": 200, "body": {"success": True}}]
    cloud.provider.delete_volume("38186467")
    assert [method for method, _, _ in cloud.sent] == ["DELETE", "GET"] * 2 + ["DELETE"]
    cloud.answers = [busy, record("vast-volumes")]
    with pytest.raises(ProviderError, match="in use"):
        cloud.provider.delete_volume("38186467")


def test_keys_of_an_instance_as_json_text() -> None:
    (found,) = Cloud("vast-instance-ssh-keys").provider.attached_keys("7")
    assert (found.id, found.line) == (1, "ssh-rsa AAAA...")
    assert Cloud("vast-ssh-none").provider.ssh_keys() == []


def test_price_increases_of_vast() -> None:
    (found,) = Cloud("vast-price-increases").provider.price_increases()
    assert found.old_gpu_usd_h == pytest.approx(0.72)
    assert found.new_gpu_usd_h == pytest.approx(1.08)
    assert found.new_disk_usd_gb_month == found.old_disk_usd_gb_month == pytest.approx(0.02592), (
        "null: as it is"
    )
    assert (found.new_up_usd_gb, found.new_down_usd_gb) == (0.004, 0.003)
    assert (found.old_fee, found.new_fee) == (0.2, 0.25)
    assert (found.contract_end, found.new_end) == (1790000000.0, 1800000000.0)
    assert found.hourly(2, 100) == (pytest.approx(1.4436), pytest.approx(2.1636))


def test_the_account_and_the_charges_of_vast() -> None:
    account = Cloud("vast-user").provider.check()
    assert (account.user, account.balance_usd) == ("user@example.com", 4.78)
    lines = Cloud("vast-charges").provider.usage("12345678")
    assert sum(line.usd for line in lines) == pytest.approx(38.421)


@pytest.mark.parametrize("name", ["vast-offers-h100", "vast-offers-h200nvl", "vast-offer-2022"])
def test_offers_of_vast(name: str) -> None:
    rows = record(name)["body"]["offers"]
    found = search(Cloud(name))
    assert len(found) == len(rows)
    for offer, row in zip(found, rows, strict=True):
        assert offer.id == str(row["id"])
        assert offer.usd_h == row["dph_base"]
        assert offer.ram_gb == pytest.approx(row["cpu_ram"] / 1000), "cpu_ram is the offer's share"
        disk = row.get("search", {}).get("diskHour", row["storage_total_cost"])
        size = 10 if name.endswith("2022") else 8
        assert offer.disk_usd_gb_h * size == pytest.approx(disk, rel=1e-6), "a month has 720 hours"
        if row["geolocation"].startswith(","):
            assert (offer.region, offer.country) == ("", ""), "not known is not the US"
        else:
            assert offer.country == row["geolocation"].rpartition(", ")[2]


def test_a_search_of_vast_goes_on_by_price() -> None:
    rows = [
        {**record("vast-offers-h100")["body"]["offers"][0], "id": at, "dph_total": 1 + at // 3}
        for at in range(150)
    ]

    def page(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        cloud.sent.append(("POST", request.url.path, asked))
        fit = [row for row in rows if row["dph_total"] >= asked.get("dph_total", {}).get("gte", 0)]
        return httpx.Response(200, json={"offers": fit[:64]})

    cloud = Cloud("vast-offers-h100")
    config = ProviderConfig(
        base_url="http://127.0.0.1:9",
        key=SecretStr("k" * 40),
        options={"http": {"transport": httpx.MockTransport(page), "pace": 0.0}},
    )
    found = provider_class("vast")(config).search(OfferQuery(gpus=()))
    assert sorted(int(offer.id) for offer in found) == list(range(150))
    assert len(cloud.sent) <= 5
    assert "external" not in cloud.sent[0][2]
    assert {name: cloud.sent[0][2][name] for name in ("verified", "rentable", "rented")} == {
        "verified": {"eq": True},
        "rentable": {"eq": True},
        "rented": {"eq": False},
    }


def test_deepinfra() -> None:
    one, eight = search(Cloud("deepinfra-availability"))
    assert (one.gpu, one.gpus, one.vram_gb, one.usd_h, one.available) == ("B200", 1, 180, 3.69, 1)
    assert (eight.gpus, eight.available) == (8, 0)
    assert not one.bills_boot
    assert not one.disk_sized
    assert one.hourly(500) == 3.69, "no disk is asked for, and none is in the price"
    found = Cloud("deepinfra-running").provider.get("container-0a1b2c3d")
    assert (found.state, found.host, found.usd_h) == (RUNNING, "192.0.2.4", 3.69)
    assert create(Cloud("deepinfra-created")).id == "container-0a1b2c3d"
    failed = Cloud("deepinfra-failed").provider.get("container-0a1b2c3d")
    assert (failed.state, failed.host, failed.message) == (FAILED, "", "Start failed: out of capacity")


def test_what_failed_is_over_only_when_nothing_is_billed_any_more() -> None:
    row = {**record("deepinfra-running")["body"], "state": "failed", "fail_reason": "no GPU", "ip": None}
    cloud = Cloud("deepinfra-running")
    cloud.answers = [{"status": 200, "body": row}]
    failed = cloud.provider.get(row["id"])
    assert failed.state is FAILED
    assert not cloud.provider.ended(failed), "no word that it has stopped"
    cloud.provider.destroy(row["id"])
    assert cloud.provider.ended(failed), "it took our call"
    other = Cloud("deepinfra-running")
    other.answers = [{"status": 200, "body": {**row, "stop_ts": 1784800200}}]
    assert other.provider.ended(other.provider.get(row["id"])), "it says when it stopped"

    machine = {**record("fluence-vm-active")["body"], "status": "FAILED", "ssh_connection": None}
    refunded = {**machine, "billing": record("fluence-container-ended")["body"]["billing"]}
    ident = f"vm:{machine['id']}"
    for body, over in ((machine, False), (refunded, True)):
        fluence = Cloud("fluence-vm-active")
        fluence.answers = [{"status": 200, "body": body}]
        found = fluence.provider.get(ident)
        assert (found.state, fluence.provider.ended(found)) == (FAILED, over)
        fluence.provider.destroy(ident)
        assert any(method == "DELETE" for method, _, _ in fluence.sent) is not over


def test_fluence() -> None:
    found = Cloud("fluence-container-active").provider.get("b54672e2-0a8b-490f-81ee-7d5a868471fc")
    assert (found.state, found.host, found.port) == (RUNNING, "provider.a100.pub", 32345)
    assert found.usd_h == 1.22
    ended = Cloud("fluence-container-ended").provider
    assert ended.get("4fe394f8-215c-42c3-8cef-f5f0381f7d9c").state is InstanceState.GONE
    over = Cloud("fluence-vm-ended").provider
    gone = over.get("vm:74c722a1-645c-4799-ad2b-731e8f45def8")
    assert (gone.state, gone.host, gone.image) == (InstanceState.GONE, "", "ubuntu24.04")
    assert over.ended(gone)
    ident = "b54672e2-0a8b-490f-81ee-7d5a868471fc"
    assert Cloud("fluence-logs").provider.logs(ident).splitlines()[1].endswith(":: port 22.")
    assert len(Cloud("fluence-events").provider.events(ident)) == 4
    machine = Cloud("fluence-vm-active").provider.get("vm:05cdd5fc-d384-4fbc-8861-5e3e2a66397c")
    assert (machine.state, machine.host, machine.port, machine.user) == (
        RUNNING,
        "198.51.100.90",
        22,
        "ubuntu",
    )
    (row, _) = Cloud("fluence-containers", "fluence-empty").provider.instances()
    assert (row.host, row.port) == ("provider.a100.pub", 0), "a row of the list has no port"
    update = Cloud("fluence-container-active", {"status": 204, "body": None})
    update.provider.update("b54672e2-0a8b-490f-81ee-7d5a868471fc", image="docker.io/a/b:2")
    sent = update.sent[-1][2]
    assert sent["ssh_key"] == "ssh-ed25519 AAAAC3..."
    assert sent["container_settings"]["environment"] == [], "Fluence refuses a variable SSH_PUBKEY"
    listed = Cloud("fluence-containers", "fluence-empty").provider.instances()
    assert [(one.id[:8], one.state) for one in listed if one.state is RUNNING] == [("b54672e2", RUNNING)]
    assert {
        one.state for one in Cloud("fluence-empty", "fluence-vms", "fluence-empty").provider.instances()
    } == {
        RUNNING,
        FAILED,
    }
    first, second = Cloud("fluence-plans").provider.search(OfferQuery(kinds=("container",)))
    assert {(first.gpu, first.usd_h), (second.gpu, second.usd_h)} == {("H200 SXM", 2.96), ("A100 SXM", 1.22)}
    plans = Cloud("fluence-plans-vms").provider.search(OfferQuery(kinds=("vm",)))
    assert {(one.gpu, one.usd_h) for one in plans} == {("A10 PCIE", 0.99), ("A100 PCIE", 1.07)}


def test_sesterce() -> None:
    offers = search(Cloud("sesterce-offers"))
    assert len({offer.id for offer in offers}) == len(offers), "two sellers, one name"
    by_gpu = {(offer.gpu, offer.gpus): offer for offer in offers}
    assert by_gpu["H200", 8].vram_gb == 141, "vRamGB is the whole machine's"
    assert by_gpu["RTXPro6000", 8].vram_gb == 96
    cpu = [offer for offer in offers if not offer.gpus]
    assert cpu
    assert not any(offer.gpu or offer.vram_gb for offer in cpu)
    found = Cloud("sesterce-instance-active").provider.get("66aa00000000000000000001")
    assert (found.state, found.host, found.port, found.user) == (RUNNING, "192.0.2.10", 22, "ubuntu")
    whole = Cloud("sesterce-detail").provider.get("66aa00000000000000000001")
    assert (whole.user, whole.ports, whole.ssh_key) == (
        "shadeform",
        {"8888/tcp": "192.0.2.11:30001"},
        "laptop",
    )
    assert (whole.kind, whole.image, whole.command) == ("", "ubuntu24.04_cuda12.4_shade_os", "")


def test_every_record_is_used() -> None:
    text = Path(__file__).read_text()
    unused = [path.stem for path in HERE.glob("*.json") if f'"{path.stem}"' not in text]
    assert not unused
    for path in HERE.glob("*.json"):
        assert json.loads(path.read_text())["source"], path.name
