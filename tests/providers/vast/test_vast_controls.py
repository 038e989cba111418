"""The rest of Vast's API: reboots, logs, commands, volumes, variables, prepayments."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from gpunb.errors import BadInput, OutcomeUnknown, ProviderError
from gpunb.providers.base import InstanceState


def test_reboot_and_recycle_keep_the_gpu(w):
    instance = w.rent()
    w.running(instance)
    for verb in (w.provider.reboot, w.provider.recycle):
        verb(instance.id)
        found = w.provider.get(instance.id)
        assert found.state is InstanceState.CREATING
        assert found.raw_state in ("rebooting", "recycling")
        w.running(instance)
    kinds = [part.kind for part in w.cloud.machines[instance.id].bill.segments if part.end is None]
    assert sorted(kinds) == ["disk", "gpu"]


def test_logs_are_fetched_when_they_are_there(w):
    instance = w.rent()
    w.running(instance)
    assert w.provider.logs(instance.id, tail=2).splitlines() == ["line 4", "onstart done"]
    assert w.provider.instance_log(instance.id, pattern="sshd").strip() == "starting sshd"


def test_execute_works_on_a_stopped_one_and_lets_through_three_commands(w):
    instance = w.rent()
    w.running(instance)
    w.provider.stop(instance.id)
    # the host's own path to the files is taken out
    assert w.provider.execute(instance.id, "ls /root").split() == ["/root/onstart.sh", "/root/hasbooted"]
    assert w.provider.execute(instance.id, "du /root").split("\t")[1:] == ["/root\n"]
    assert "/root/onstart.sh" in w.provider.execute(instance.id, "du -a /root")
    w.provider.execute(instance.id, "rm /root/hasbooted")
    assert w.provider.execute(instance.id, "ls /root").split() == ["/root/onstart.sh"]
    for command in ("nvidia-smi", "ls; reboot", "ls $(reboot)", "ls 'x", "", "ls " + "x" * 600, "ls\nrm x"):
        with pytest.raises(BadInput, match="command"):
            w.provider.execute(instance.id, command)


def test_volumes_live_and_are_billed_until_deleted(w):
    offers = w.provider.search_volumes(20)
    assert offers == sorted(offers, key=lambda offer: offer.usd_gb_h)
    volume = w.provider.create_volume(offers[0].id, 20, "data")
    (found,) = w.provider.volumes()
    assert (found.id, found.name, found.size_gb, found.machine_id) == (
        volume,
        "data",
        20,
        offers[0].machine_id,
    )
    assert found.usd_h == pytest.approx(20 * offers[0].usd_gb_h)
    instance = w.rent(volumes={volume: "/data"})
    assert w.provider.volumes()[0].instances == (instance.id,)
    with pytest.raises(ProviderError, match="Destroy the instances"):
        w.provider.delete_volume(volume)
    w.provider.destroy(instance.id)
    w.wait(10)
    w.provider.clone_volume(volume, offers[1].id)
    for one in w.provider.volumes():
        w.provider.delete_volume(one.id)
    assert w.provider.volumes() == []
    for name in ("", "a b", "x" * 65, "ö"):
        with pytest.raises(BadInput, match="volume name"):
            w.provider.create_volume(offers[0].id, 20, name)
    assert [offer.machine_id for offer in w.provider.search_volumes(5, machine_id=found.machine_id)] == [
        found.machine_id
    ]


def test_a_volume_is_never_ordered_twice(w):
    w.cloud.faults.add("error-after", "create-volume")
    offer = w.provider.search_volumes(20)[0]
    with pytest.raises(OutcomeUnknown):
        w.provider.create_volume(offer.id, 20, "data")
    assert len(w.provider.volumes()) == 1


def test_account_variables_are_in_capitals(w):
    assert w.provider.set_env_var("hf_token", SecretStr("abc")) == "HF_TOKEN"
    w.provider.set_env_var("HF_TOKEN", SecretStr("def"))
    found = w.provider.env_vars()
    assert found["HF_TOKEN"].get_secret_value() == "def"
    assert "def" not in repr(found)
    w.provider.delete_env_var("hf_token")
    assert w.provider.env_vars() == {}
    with pytest.raises(BadInput):
        w.provider.set_env_var("1x", SecretStr("a"))


def test_prepay_deposit_snapshot_templates_reports(w):
    instance = w.rent()
    w.running(instance)
    said = w.provider.prepay(instance.id, 20)
    assert said["discount_rate"] in (0.0, 0.2, 0.3)
    assert w.provider.deposit(instance.id)["balance"] == 20
    for usd in (0, -1, float("nan")):
        with pytest.raises(BadInput, match="amount"):
            w.provider.prepay(instance.id, usd)
    w.provider.snapshot(instance.id, repository="me/x", user="me", password=SecretStr("p"))
    (template,) = w.provider.search_templates({"name": {"eq": "PyTorch (Vast)"}})
    assert template.image == "vastai/pytorch:@vastai-automatic-tag"
    reports = [w.provider.machine_reports(str(number)) for number in (3, 4)]
    assert [len(found) for found in reports] == [1, 0]
    assert w.provider.connections() == []
    assert w.provider.ssh_keys() == []


def test_a_prepayment_is_never_sent_twice(w):
    instance = w.rent()
    w.cloud.faults.add("error-after", "prepay")
    with pytest.raises(OutcomeUnknown):
        w.provider.prepay(instance.id, 20)
    assert w.provider.deposit(instance.id)["balance"] == 20
