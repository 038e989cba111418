"""`make live`, tried with a simulated cloud: nothing of the account is kept, and it can be played again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from support.rentals.clouds import simulated
from support.rentals.simulated import PUBLIC_KEY
from support.rentals.supervisors import end_supervisors

from gpunb.providers import CreateSpec, InstanceState, OfferQuery, ProviderConfig, provider_class
from gpunb.providers.base import Presence
from gpunb.sessions.ledger.sessions import Ledger
from tests.live.__main__ import main
from tests.live.recording import Replay, Scrubber

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_a_rental_is_recorded_without_the_account_and_played_again(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with simulated(["vast"]) as simulation, Ledger.open() as ledger:
        own = ledger.installation
        key = simulation["vast"].key
        done = CliRunner().invoke(main, ["vast", "--budget", "1", "--out", str(out)])
        assert not list(simulation["vast"].billed_now()), "nothing is billed on"
        end_supervisors(home)
    (folder,) = out.iterdir()
    story = json.loads((folder / "story.json").read_text())
    assert [(one["typed"][0], one["code"]) for one in story] == [
        (verb, 0) for verb in ("rent", "cell", "sync", "run", "down")
    ], done.output
    assert done.exit_code == 0, done.output

    written = "".join(one.read_text() for one in folder.iterdir())
    for secret in (key, own, "@sim", "PRIVATE KEY", "AAAAC3Nza", "127.0.0.1"):
        assert secret not in written, f"{secret} is in the recording"
    records = [json.loads(one.read_text()) for one in sorted(folder.glob("[0-9]*.json"))]
    assert {"source", "request", "status", "headers", "body"} == set(records[0])
    methods = [one["request"]["method"] for one in records]
    assert methods.count("PUT") >= 1
    assert "DELETE" in methods

    _play(folder, records)


def _play(folder: Path, records: list[dict[str, Any]]) -> None:
    """A provider is given the recorded answers, and comes to the same rental and the same end."""
    http = {"transport": Replay(folder).transport(), "sleep": lambda _s: None, "pace": 0.0, "attempts": 1}
    config = ProviderConfig(base_url="http://127.0.0.1:9", key=SecretStr("k" * 40), options={"http": http})
    cloud = provider_class("vast")(config)
    created = next(one["request"]["path"] for one in records if "/asks/" in one["request"]["path"])
    offers = {one.id: one for one in cloud.search(OfferQuery())}
    made = cloud.create(
        offers[created.rstrip("/").rpartition("/")[2]], CreateSpec(label="gpunb-x", public_key=PUBLIC_KEY)
    )
    assert any(cloud.get(made.id).state is InstanceState.RUNNING for _ in range(len(records)))
    cloud.destroy(made.id)
    assert any(cloud.presence(made.id) is Presence.GONE for _ in range(len(records)))


def test_what_is_a_persons_is_replaced_alike_everywhere() -> None:
    scrub = Scrubber(["sk-live-12345"])
    answer = {
        "id": 7,
        "user_id": 123456,
        "fullname": "Ada Lovelace",
        "billaddress_line1": "1 Street",
        "public_ipaddr": "203.0.113.77",
        "ports": {"22/tcp": [{"HostIp": "203.0.113.77"}]},
        "gpu_name": "RTX 4090",
        "driver_version": "550.54.15",
        "extra_env": [["SECRET_WORD", "x"]],
        "onstart": "echo c2VjcmV0",
        "ssh_key": "ssh-ed25519 AAAAC3Nza me@laptop",
        "note": "mail ada@example.org, key sk-live-12345, ssh-ed25519 AAAAC3NzaXX me@laptop",
    }
    kept = scrub.value(answer)
    text = json.dumps(kept)
    for word in (
        "ada",
        "Ada",
        "Street",
        "203.0.113",
        "SECRET",
        "c2Vj",
        "laptop",
        "sk-live",
        "123456",
        "C3Nza",
    ):
        assert word not in text, text
    assert kept["public_ipaddr"] == kept["ports"]["22/tcp"][0]["HostIp"], "the same address stays the same"
    assert (kept["id"], kept["gpu_name"], kept["driver_version"]) == (7, "RTX 4090", "550.54.15")
    assert scrub.value({"id": 123456, "username": "ada"})["id"] == 1, "an account's own number"
