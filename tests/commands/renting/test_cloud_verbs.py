"""Verbs that only some clouds can: offered where they work, refused with a reason elsewhere."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb import paths
from gpunb.errors import RateLimited
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

pytestmark = pytest.mark.slow


@pytest.fixture
def clouds(gpunb: Gpunb) -> Iterator[Simulation]:
    """All simulated clouds, on paper: no SSH is needed."""
    with simulated(real=False) as simulation:
        yield simulation


def cap(**values: float) -> None:
    """Write the user's settings file with these caps."""
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["[limits]", *(f"{name} = {value}" for name, value in values.items()), ""]))


def pretend_session(provider: str, name: str, instance_id: str, rental: str = "on-demand") -> None:
    """A ready session in the ledger for an instance that the cloud has."""
    from gpunb.sessions.model import Session, SessionState

    with Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)  # a verb's own supervisor would see what no cloud has told
        session = ledger.add_session(
            Session(
                id=f"id{name}",
                name=name,
                provider=provider,
                label=f"gpunb-{ledger.installation[:8]}-id{name}",
                offer={"rental": rental},
                usd_h=1.0,
            )
        )
        for state in (
            SessionState.CREATING,
            SessionState.BOOTING,
            SessionState.REACHABLE,
            SessionState.READY,
        ):
            session = ledger.transition(session, state, "", instance_id=instance_id)


def rented(clouds: Simulation, name: str, **wanted: Any) -> Any:
    """An instance that the simulated cloud has, and its provider."""
    from gpunb.providers import CreateSpec, OfferQuery
    from gpunb.sim.ending import provider

    cloud = provider(name, clouds.description()[name])
    offer = next(found for found in cloud.search(OfferQuery(**wanted)) if found.available)
    spec = CreateSpec(
        label="gpunb-test",
        public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl t",
        disk_gb=20,
    )
    for _ in range(20):
        try:
            return cloud, cloud.create(offer, spec), offer
        except RateLimited:  # noqa: PERF203 - nothing is rented; on a busy machine two calls may arrive at once
            time.sleep(0.1)
    pytest.fail("the cloud takes no create")


@pytest.mark.parametrize(
    ("line", "cloud", "words"),
    [
        (["reboot"], "fluence", "Fluence can't reboot an instance"),
        (["reboot"], "deepinfra", "DeepInfra can't reboot an instance"),
        (["vast", "bid", "1"], "sesterce", "Sesterce can't take bids"),
        (["stop"], "deepinfra", "DeepInfra can't stop an instance and keep it"),
        (["vast", "bid", "1"], "vast", "is on-demand: it takes no bids"),
    ],
)
def test_what_a_cloud_cannot_do_is_said_and_changes_nothing(
    gpunb: Gpunb, clouds: Simulation, line: list[str], cloud: str, words: str
) -> None:
    pretend_session(cloud, "one", "4711")
    ran = gpunb(*line)
    assert ran.code == 1
    assert words in ran.err
    assert gpunb("ps", "--json").json[0]["state"] == "ready"
    assert clouds[cloud].machines == {}


def test_bid_changes_what_is_paid(gpunb: Gpunb, clouds: Simulation) -> None:
    cloud, made, offer = rented(clouds, "vast", rental="spot")
    pretend_session("vast", "spot", made.id, "spot")
    before = clouds["vast"].machines[made.id].data["gpu_usd_h"]
    ran = gpunb("vast", "bid", f"{offer.usd_h * 3:.3f}", "--json", "--yes")
    assert ran.code == 0, ran.err
    assert clouds["vast"].machines[made.id].data["gpu_usd_h"] == pytest.approx(offer.usd_h * 3, rel=0.01)
    assert before < offer.usd_h * 3
    for bad, word in (
        ("-1", "no option -1"),
        ("much", "US dollars"),
        ("0", "above 0"),
        ("99999", "at most 32"),
    ):
        assert word in gpunb("vast", "bid", bad, "--yes").err
    cloud.close()


def test_a_bid_is_held_by_the_caps(gpunb: Gpunb, clouds: Simulation) -> None:
    cloud, made, offer = rented(clouds, "vast", rental="spot")
    pretend_session("vast", "spot", made.id, "spot")
    before = clouds["vast"].machines[made.id].data["gpu_usd_h"]
    cap(usd_h=1.5)
    for bid, words in ((["2"], "limits.usd_h = $1.50 refuses this"), (["win"], "known when it is set")):
        ran = gpunb("vast", "bid", *bid, "--yes")
        assert ran.code == 2, ran.out
        assert words in ran.err
        assert "nothing was changed" in ran.err, "what it means for the bill"
        assert clouds["vast"].machines[made.id].data["gpu_usd_h"] == before
    assert gpunb("vast", "bid", f"{offer.usd_h:.3f}", "--yes").code == 0
    cap(gpus=4)
    assert gpunb("vast", "bid", "win", "--yes").code == 0, "without a cap of money it goes"
    cloud.close()


def test_a_price_increase_is_shown_refused_and_accepted(gpunb: Gpunb, clouds: Simulation) -> None:
    assert "no host asks for more" in gpunb("vast", "increases").out
    cloud, made, _ = rented(clouds, "vast")
    pretend_session("vast", "dear", made.id)
    for flag, factor in (("--refuse", 1.0), ("--accept", 1.5)):
        paid = clouds["vast"].machines[made.id].data["gpu_usd_h"]
        clouds["vast"].afflict("price-increase", made.id, factor=1.5)
        (row,) = json.loads(gpunb("vast", "increases", "--json").out)
        assert row["session"] == "dear"
        assert row["new_usd_h"] > row["old_usd_h"]
        assert gpunb("vast", "increases", flag, str(row["id"]), "--yes").code == 0
        now = clouds["vast"].machines[made.id].data["gpu_usd_h"]
        assert now == pytest.approx(paid * factor, rel=0.01)
    assert "there is no price increase 1" in gpunb("vast", "increases", "--accept", "1").err
    assert "not both" in gpunb("vast", "increases", "--accept", "1", "--refuse", "1").err
    cloud.close()


def test_volumes_of_all_clouds_are_shown_with_what_they_cost_and_deleted(
    gpunb: Gpunb, clouds: Simulation
) -> None:
    from gpunb.sim.ending import provider

    assert "no volumes" in gpunb("volumes").out
    sesterce: Any = provider("sesterce", clouds.description()["sesterce"])
    place = next(row for row in sesterce.volume_offers() if row["regions"])
    made = sesterce.create_volume(
        cloud=place["cloudProvider"]["_id"], region=place["regions"][0], name="data", size_gb=100
    )
    vast: Any = provider("vast", clouds.description()["vast"])
    vast.create_volume(vast.search_volumes(20)[0].id, size_gb=20, name="scratch")
    shown = gpunb("volumes")
    assert "data" in shown.out
    assert "scratch" in shown.out
    assert {row["provider"] for row in gpunb("volumes", "--json").json} == {"sesterce", "vast"}
    assert "nothing was deleted" in gpunb("volumes", "--delete", "nothing").err
    assert gpunb("volumes", "--cloud", "sesterce", "--delete", made, "--yes").code == 0
    assert [row["name"] for row in gpunb("volumes", "--json").json] == ["scratch"]
    assert "DeepInfra can't keep volumes" in gpunb("volumes", "--cloud", "deepinfra").err
    for one in (sesterce, vast):
        one.close()


def test_a_cloud_that_is_down_does_not_hide_the_others_volumes(gpunb: Gpunb, clouds: Simulation) -> None:
    clouds["vast"].faults.add("gateway", "*", times=None)
    ran = gpunb("volumes")
    assert ran.code == 0
    assert "vast:" in ran.out


def test_rename_keeps_the_label_by_which_the_instance_is_found(gpunb: Gpunb, clouds: Simulation) -> None:
    pretend_session("vast", "one", "1")
    pretend_session("vast", "two", "2")
    label = next(row["label"] for row in gpunb("ps", "--json").json if row["name"] == "one")
    assert gpunb("rename", "train", "-s", "one").code == 0
    rows = {row["name"]: row["label"] for row in gpunb("ps", "--json").json}
    assert rows["train"] == label
    assert "taken" in gpunb("rename", "two", "-s", "train").err
    assert gpunb("rename", "no spaces", "-s", "train").code == 2


def test_the_machine_s_own_log_and_its_daemon_s(gpunb: Gpunb, clouds: Simulation) -> None:
    cloud, made, _ = rented(clouds, "vast")
    pretend_session("vast", "one", made.id)
    for flag in ("--instance", "--daemon"):
        ran = gpunb("logs", flag, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["instance"] == made.id
        assert ran.json["daemon"] is (flag == "--daemon")
    assert len(gpunb("logs", "--instance", "--tail", "1", "--json").json["text"].splitlines()) <= 1
    whole = gpunb("logs", "--instance", "--json").json["text"].splitlines()
    word = whole[-1].split()[-1]
    some = gpunb("logs", "--instance", "--grep", re.escape(word), "--tail", "1", "--json").json["text"]
    assert some == [line for line in whole if word in line][-1]
    assert "fits" in gpunb("logs", "--instance", "--grep", "^no such line$").out
    pretend_session("sesterce", "two", "abc")
    assert "Sesterce can't show an instance's log" in gpunb("logs", "--instance", "-s", "two").err
    pretend_session("fluence", "three", "abc")
    assert (
        "Fluence can't show the log of its host's daemon; Vast.ai can"
        in gpunb("logs", "--daemon", "-s", "three").err
    )
    cloud.close()


def test_why_a_container_never_starts_stands_among_its_events(gpunb: Gpunb, clouds: Simulation) -> None:
    clouds["fluence"].faults.add("wrong-image", "create")
    clouds["fluence"].boot_seconds = 0.0
    cloud, made, _ = rented(clouds, "fluence", kinds=("container",))
    pretend_session("fluence", "one", made.id)
    ran = gpunb("logs", "--instance", "--json")
    assert ran.code == 0, ran.err
    assert "[Normal] [Scheduled] Successfully assigned pod" in ran.json["events"][0]
    assert "Failed to pull image" in ran.json["events"][-1]
    assert ran.json["text"] == "", "it prints nothing"
    shown = gpunb("logs", "--instance").out
    assert "events at Fluence:" in shown
    assert "Failed to pull image" in shown
    cloud.close()


@pytest.mark.slow
def test_reboot_keeps_files_and_is_ready_again(demo: Gpunb) -> None:
    assert demo("exec", "--", "sh", "-c", "echo kept > ~/kept").code == 0
    ran = demo("reboot", "--yes")
    assert ran.code == 0, ran.err
    assert "is ready again" in ran.out
    assert demo("exec", "--", "sh", "-c", "cat ~/kept").out.strip() == "kept"
    assert demo("down", "--yes").code == 0
    assert "no live session" in demo("reboot").err
