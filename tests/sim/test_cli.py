"""``gpunb sim``: a real detached process, up and down, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from gpunb.cli.context import Context
from gpunb.errors import BadInput, GpunbError, WrongState
from gpunb.presentation.result import Result
from gpunb.providers import CreateSpec, OfferQuery, ProviderConfig, provider_class
from gpunb.sim.cli import command
from gpunb.sim.serving import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def run(home: Path) -> Iterator[Callable[..., Result]]:
    def call(line: str) -> Result:
        with (
            Context("terminal") as context,
            command.make_context("sim", shlex.split(line), obj=context) as ctx,
        ):
            found = command.invoke(ctx)
        assert isinstance(found, Result)
        return found

    yield call
    state.stop()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_up_rent_status_faults_clock_down(run: Any, home: Path) -> None:
    made = run("up --cloud deepinfra --cloud sesterce --boot 0 --seed 3")
    providers = made.data()["providers"]
    assert set(providers) == {"deepinfra", "sesterce"}
    assert "until `gpunb sim down`" in made.text()
    marker = state.read_marker()
    assert marker is not None
    assert marker["active"] is True
    assert state.marker_file().stat().st_mode & 0o777 == 0o600
    with pytest.raises(WrongState, match="up already"):
        run("up")
    one = providers["deepinfra"]
    config = ProviderConfig(
        base_url=one["base_url"], key=SecretStr(one["key"]), options={"accept_terms": one["accept_terms"]}
    )
    provider = provider_class("deepinfra")(config)
    offer = next(found for found in provider.search(OfferQuery()) if found.available)
    rented = provider.create(offer, CreateSpec(label="gpunb-cli", public_key="ssh-ed25519 AAAA x"))
    assert "gpunb-cli" in run("status").text()
    assert "waits for list" in run("faults deepinfra list quota --times 2").text()
    assert "quota" in run("status").text()
    run("faults deepinfra --clear")
    assert run("status").data()["deepinfra"]["faults"] == []
    assert run(f"faults deepinfra host-offline --now {rented.id}").data()["hit"] <= 1
    before = run("status").data()["deepinfra"]["now"]
    run("clock --advance 5000")
    assert run("status").data()["deepinfra"]["now"] >= before + 5000
    ended = run("down --yes")
    assert ended.data()["down"] is True
    assert not _alive(marker["pid"])
    assert not state.marker_file().exists()
    assert list((home / "sim" / "hosts").iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(one["base_url"], trust_env=False)
    assert run("down").data() == {"down": False, "ended": []}
    provider.close()


@pytest.mark.slow
def test_env_prints_lines_that_a_shell_can_take(run: Any) -> None:
    made = run("up --env --cloud fluence --speed 10")
    marker = state.read_marker()
    assert marker is not None
    assert marker["active"] is False, "with --env only those who took the lines over use the simulation"
    lines = dict(shlex.split(line)[1].split("=", 1) for line in made.data()["env"])
    one = made.data()["providers"]["fluence"]
    assert lines["FLUENCE_API_KEY"] == one["key"]
    assert lines["GPUNB_PROVIDERS__FLUENCE__BASE_URL"] == one["base_url"]
    assert lines["GPUNB_CLOUDS"] == "local,fluence"
    assert json.loads(lines["GPUNB_PROVIDERS__FLUENCE__HTTP"]) == {"pace": 0.1}


@pytest.mark.slow
def test_a_scenario_that_cannot_be_read_names_the_fault(run: Any, tmp_path: Path) -> None:
    bad = tmp_path / "faults.json"
    bad.write_text('[{"kind": "earthquake"}]')
    with pytest.raises(GpunbError, match="earthquake"):
        run(f"up --cloud sesterce --scenario {bad}")
    assert state.read_marker() is None


class TestBadInput:
    def test_no_simulation(self, run: Any) -> None:
        for line in ("status", "faults vast create quota", "clock --advance 1"):
            with pytest.raises(WrongState, match="no simulation is up"):
                run(line)

    def test_a_cloud_that_is_not_simulated(self, run: Any) -> None:
        with pytest.raises(BadInput, match="'aws'"):
            run("up --cloud aws")

    def test_a_verb_that_is_not_there(self, run: Any) -> None:
        with pytest.raises(BadInput, match="no verb 'stats'") as caught:
            run("stats")
        assert "status" in str(caught.value.hint)

    def test_a_parameter_that_is_no_number(self, run: Any) -> None:
        from gpunb.sim import cli

        with pytest.raises(BadInput, match="seconds=soon"):
            cli._number("seconds=soon")

    def test_the_kinds_are_listed(self, run: Any) -> None:
        assert "destroy answers success and does nothing" in run("faults").text()

    def test_a_dead_simulations_marker_is_removed(self, run: Any, home: Path) -> None:
        pid = os.spawnlp(os.P_WAIT, "true", "true") or _free_pid()
        state.marker_file().parent.mkdir(parents=True)
        state.marker_file().write_text(json.dumps({"pid": pid, "providers": {}}))
        assert state.read_marker() is None
        assert not state.marker_file().exists()

    def test_a_damaged_marker_is_named(self, run: Any, home: Path) -> None:
        state.marker_file().parent.mkdir(parents=True)
        state.marker_file().write_text("{")
        with pytest.raises(GpunbError, match=r"clouds\.json"):
            state.read_marker()
        state.marker_file().unlink()


def _free_pid() -> int:
    """The id of a process that has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
