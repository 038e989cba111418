"""Sessions on real local instances: a real SSH server, the real agent, real processes that die."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gpunb import paths
from gpunb.errors import Cancelled, OutcomeUnknown, SyncError, Unavailable, Unreachable, WrongState
from gpunb.providers import CreateSpec, Instance, Offer, OfferQuery, ProviderConfig
from gpunb.providers.local import LocalProvider, processes
from gpunb.sessions import lifecycle
from gpunb.sessions.access import host_access
from gpunb.sessions.cost import lease
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import RentRequest
from gpunb.sessions.model import SessionState
from gpunb.sessions.supervisor import process
from tests.support.story import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

S = SessionState
pytestmark = pytest.mark.slow


@pytest.fixture
def cloud(home: Path) -> LocalProvider:
    return LocalProvider(ProviderConfig(options={"usd_h": 3.6}))


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger.open() as opened:
        yield opened
    host_access.close_all()


def test_rent_use_stop_start_and_end(ledger: Ledger, cloud: LocalProvider, tmp_path: Path) -> None:
    session = lifecycle.rent(
        ledger,
        cloud,
        cloud.search(OfferQuery()),
        RentRequest(hours=1, save=["out"], save_to=str(tmp_path / "back")),
    )
    assert session.state is S.READY
    assert session.trust == "own"
    folder = paths.session_dir(session.id)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "id_ed25519").stat().st_mode & 0o777 == 0o600
    # the key was known before the first contact
    assert f"gpunb-{session.id} ssh-ed25519" in (folder / "known_hosts").read_text()

    client = host_access.agent(session)
    assert host_access.agent(session) is client
    assert host_access.connection(session) is client.connection
    told = client.lease()
    assert abs(told["deadline"] - session.lease.deadline) < 60
    assert told["idle_s"] == 1800
    more = lease.extend(ledger, session, hours=1)
    assert client.lease()["deadline"] - told["deadline"] == pytest.approx(3600, abs=5)
    assert more.armed == more.lease.mark

    done = host_access.connection(session).run("mkdir -p out/deep && echo weights > out/deep/model.pt")
    assert done.code == 0

    stopped = lifecycle.stop(ledger, cloud, session)
    assert stopped.state is S.STOPPED
    with pytest.raises(SyncError, match="can't be brought back"):
        lifecycle.down(ledger, cloud, stopped)
    again = lifecycle.start(ledger, cloud, stopped)
    assert again.state is S.READY
    assert host_access.agent(again) is not client

    receipt = lifecycle.down(ledger, cloud, again)
    assert (tmp_path / "back" / "out" / "deep" / "model.pt").read_text() == "weights\n"
    assert receipt.saved == ["out"]
    assert receipt.confirmed is not None
    assert 0 < receipt.cost.gpu < 0.1
    assert receipt.provider_usd == pytest.approx(receipt.cost.gpu, abs=0.005)
    assert cloud.instances() == []
    with pytest.raises(WrongState, match="is gone"):
        host_access.endpoint(ledger.get(session.id))


def test_a_save_that_is_not_there_is_told(ledger: Ledger, cloud: LocalProvider, tmp_path: Path) -> None:
    session = lifecycle.rent(
        ledger, cloud, cloud.search(OfferQuery()), RentRequest(save=["nothing"], save_to=str(tmp_path))
    )
    with pytest.raises(SyncError, match="nothing"):
        lifecycle.down(ledger, cloud, session)
    assert len(cloud.instances()) == 1
    assert lifecycle.down(ledger, cloud, session, save=False).unsaved[0][0] == "nothing"


def test_the_supervisor_ends_it_on_time(ledger: Ledger, cloud: LocalProvider, home: Path) -> None:
    session = lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), RentRequest())
    ledger.update(session.id, lease=type(session.lease)(deadline=time.time() + 1.0))
    stop = threading.Event()
    timer = threading.Timer(60, stop.set)
    timer.start()
    process.run(ledger, lambda name: cloud, tick_s=0.2, stop=stop)
    timer.cancel()
    assert cloud.instances() == []
    receipt = ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "deadline"


class LostAnswer(LocalProvider):
    """The answer is lost after the effect."""

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        super().create(offer, spec)
        msg = "the connection was reset"
        raise OutcomeUnknown(msg, provider=self.name)


class LostCall(LocalProvider):
    """The call is lost before it."""

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        msg = "the connection was reset"
        raise OutcomeUnknown(msg, provider=self.name)


def test_a_lost_answer_is_found_by_its_label(ledger: Ledger, cloud: LocalProvider) -> None:
    lossy = LostAnswer(cloud.config)
    session = lifecycle.rent(ledger, lossy, cloud.search(OfferQuery()), RentRequest())
    assert session.state is S.READY
    assert [one.id for one in cloud.instances()] == [session.instance_id]
    lifecycle.down(ledger, cloud, session)


def test_a_lost_call_is_certain_at_once_where_lists_do_not_lag(ledger: Ledger, cloud: LocalProvider) -> None:
    with pytest.raises(Unavailable, match="no instance came of it"):
        lifecycle.rent(ledger, LostCall(cloud.config), cloud.search(OfferQuery()), RentRequest())
    assert ledger.sessions() == []


def test_ctrl_c_while_the_agent_starts(
    ledger: Ledger, cloud: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(host_access, "agent", interrupt)
    with pytest.raises(Cancelled, match="confirmed: nothing is rented"):
        lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), RentRequest())
    assert cloud.instances() == []


RENTER = """
import sys
from gpunb.providers import OfferQuery
from gpunb.providers.local import LocalProvider, processes
from gpunb.sessions import lifecycle
from gpunb.sessions.ledger.sessions import Ledger
class Tell:
    def say(self, message): print(message, flush=True)
    def advance(self, *args, **more): pass
cloud = LocalProvider()
with Ledger.open() as ledger:
    lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), lifecycle.RentRequest(hours=1), progress=Tell())
    print("done", flush=True)
"""


@pytest.mark.parametrize("line", ["renting", "waiting for SSH", "starting the agent", "done"])
def test_kill_9_in_rent_and_the_next_process_goes_on(ledger: Ledger, cloud: LocalProvider, line: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", RENTER], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for told in child.stdout:
        if told.startswith(line):
            break
    child.kill()
    child.wait(30)
    child.stdout.close()
    known = {one.instance_id for one in ledger.sessions()}
    labels = {one.label for one in ledger.sessions()}
    assert all(one.id in known or one.label in labels for one in cloud.instances()), "billed and unknown"
    (session,) = ledger.sessions()
    after = lifecycle.resume(ledger, cloud, session)
    if after.alive:
        assert after.state is S.READY
        assert host_access.agent(after).lease()["deadline"] is not None
        lifecycle.down(ledger, cloud, after)
    assert cloud.instances() == []
    assert ledger.sessions() == []


def test_connections_are_dropped_with_the_session(ledger: Ledger, cloud: LocalProvider) -> None:
    session = lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), RentRequest())
    first = host_access.connection(session)
    first.close()
    second = host_access.connection(session)
    assert second is not first
    assert second.run("echo hi").out == b"hi\n"
    host_access.close_all()
    assert not second.alive()
    assert host_access.connection(session).run("echo again").out == b"again\n"
    lifecycle.down(ledger, cloud, session)
    assert host_access._held == {}


def test_a_host_is_not_called_any_more_once_another_process_has_ended_its_session(
    ledger: Ledger, cloud: LocalProvider
) -> None:
    session = lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), RentRequest(hours=1))
    client = host_access.agent(session)
    with Ledger.open() as other:  # another process: it says so first, and destroys then
        other.transition(other.get(session.id), S.ENDING, "down")
    begun = time.monotonic()
    client.connection.close()
    while client.alive and time.monotonic() - begun < 20:
        time.sleep(0.05)
    assert time.monotonic() - begun < 10, "its host is still called"
    with pytest.raises(Unreachable, match=f"session {session.name} is ending"):
        client.request("lease")
    receipt = lifecycle.down(ledger, cloud, session)
    assert receipt.confirmed is not None
    assert processes.belonging(session.instance_id) == []


def test_a_host_that_moved_is_followed_and_not_looked_for_at_its_old_address(
    ledger: Ledger, cloud: LocalProvider
) -> None:
    session = lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), RentRequest(hours=1))
    client = host_access.agent(session)
    ledger.update(session.id, port=1)  # nothing listens there
    client.connection.close()
    wait_for(lambda: client.endpoint.port == 1)
    assert not client.connected
    old = ledger.get(session.id)
    ledger.update(session.id, port=session.port)
    for read in (old, ledger.get(session.id), old):  # also by who read the session before it moved
        assert host_access.agent(read) is client, "other threads follow their runs over it"
    assert client.request("lease"), "the same client, at the address that the ledger has now"
    assert client.endpoint.port == session.port
    lifecycle.down(ledger, cloud, session)
