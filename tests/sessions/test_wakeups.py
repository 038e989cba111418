"""Vast's signed webhooks wake the supervisor, and do nothing else; the simulated Vast makes the calls."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest
from support.rentals.vast_cloud import InProcessTransport
from support.rentals.vast_cloud import world as vast_world
from support.story import wait_for

from gpunb import paths
from gpunb.errors import SettingsError
from gpunb.providers.models import InstanceState
from gpunb.sessions.notices import wakeups
from gpunb.sessions.notices.outbox import own
from gpunb.sessions.notices.wakeups import BODY_MOST, CALLS_MOST, WakeUps
from gpunb.sessions.supervisor import process
from gpunb.settings import NotifySettings
from gpunb.sim.vast.webhooks import notification, signed
from tests.sessions.scripted import ScriptedCloud

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sim.vast.cloud import VastCloud
    from tests.sessions.conftest import World

EVENTS = ["client:outbid", "client:instance_deleted", "client:instance_offline"]


class SimClock:
    """The simulated cloud's time as the ledger's."""

    def __init__(self, cloud: VastCloud) -> None:
        self.cloud = cloud

    def time(self) -> float:
        return self.cloud.clock.now()

    def sleep(self, seconds: float) -> None:
        self.cloud.clock.advance(seconds)


class Bell:
    """A receiver, the simulated Vast, and the webhook that it has."""

    def __init__(self, cloud: VastCloud) -> None:
        self.cloud = cloud
        self.to = NotifySettings(vast_secret="a secret of another webhook")
        self.wakeups = WakeUps(SimClock(cloud), settings=lambda: self.to)
        # the one port that no settings file may have: a free one
        self.listen("127.0.0.1:0")
        self.row = self.add()
        self.listen("127.0.0.1:0", self.row["webhook_secret"])
        self.row["webhook_url"] = self.url

    @property
    def url(self) -> str:
        address = self.wakeups.address
        assert address is not None
        return f"http://{address[0]}:{address[1]}/"

    def listen(self, at: str, secret: str = "") -> None:
        more = NotifySettings(vast_secret=secret) if secret else self.to
        self.to = more.model_copy(update={"vast_listen": at})
        self.wakeups.serve(on=True)

    def add(self) -> dict[str, Any]:
        with httpx.Client(
            transport=InProcessTransport(self.cloud),
            base_url="http://127.0.0.1",
            headers={"Authorization": f"Bearer {self.cloud.key}"},
        ) as client:
            asked = {"webhook_url": self.url, "event_types": EVENTS}
            made = client.post("/api/v0/webhooks/", json=asked)
            assert made.status_code == 200, made.text
            shown = client.get("/api/v0/webhooks/").json()
            assert "webhook_secret" not in str(shown)
        (account,) = self.cloud.accounts.values()
        (row,) = account.data["webhooks"]
        assert row["webhook_secret"] == made.json()["webhook"]["webhook_secret"]
        return row  # type: ignore[no-any-return]

    def call(self, body: bytes | None = None, **headers: str) -> int:
        body = body or notification("outbid", "Instance 1 is outbid", self.cloud.clock.now())
        return self.cloud.call(self.row, body, **headers)

    def raw(self, sent: bytes) -> bytes:
        """What is answered to these bytes."""
        address = self.wakeups.address
        assert address is not None
        with socket.create_connection(address, timeout=60) as line:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            got = b""
            while more := line.recv(4096):
                got += more
        return got


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell(vast_world().cloud)
    yield bell
    bell.wakeups.close()


def test_a_signed_call_rings_and_each_other_does_not(bell: Bell) -> None:
    assert bell.wakeups.taken() == set()
    assert bell.call() == 204
    assert bell.wakeups.taken() == {"vast"}
    assert bell.wakeups.taken() == set(), "once"
    body = notification("outbid", "x", bell.cloud.clock.now())
    now = bell.cloud.clock.now()
    secret = bell.row["webhook_secret"]
    old, ahead = (signed(secret, body, f"{now + by:.0f}") for by in (-301.0, 301.0))
    other = signed("another secret of sixteen", body, f"{now:.0f}")
    ours = signed(secret, body, f"{now:.0f}")
    word = ours["X-Vast-Signature-256"]
    plain = hashlib.sha256(f"{now:.0f}.".encode() + body).hexdigest()
    wrong = {
        "older than five minutes": old,
        "of the future": ahead,
        "another secret": other,
        "the time of another call": {**ours, "X-Vast-Timestamp": f"{now - 1:.0f}"},
        "no time": {**ours, "X-Vast-Timestamp": ""},
        "no number": {**ours, "X-Vast-Timestamp": "nan"},
        "a negative one": {**ours, "X-Vast-Timestamp": "-1"},
        "a huge one": {**ours, "X-Vast-Timestamp": "9" * 400},
        "no signature": {**ours, "X-Vast-Signature-256": ""},
        "no prefix": {**ours, "X-Vast-Signature-256": word.partition("=")[2]},
        "cut off": {**ours, "X-Vast-Signature-256": word[:-1]},
        "no key": {**ours, "X-Vast-Signature-256": f"sha256={plain}"},
        "another digest": {**ours, "X-Vast-Signature-256": word.replace("sha256", "sha1")},
    }
    assert {name: bell.call(body, **headers) for name, headers in wrong.items()} == dict.fromkeys(wrong, 401)
    assert bell.call(body + b" ", **ours) == 401, "another body"
    assert bell.wakeups.taken() == set()
    bell.wakeups.serve(on=True)
    assert bell.wakeups.refused == len(wrong) + 1


def test_a_replayed_call_rings_once(bell: Bell) -> None:
    body = notification("outbid", "x", bell.cloud.clock.now())
    ours = signed(bell.row["webhook_secret"], body, f"{bell.cloud.clock.now():.0f}")
    assert bell.call(body, **ours) == 204
    assert bell.wakeups.taken() == {"vast"}
    # it is taken, as a repetition of Vast's must be, whatever it calls itself
    again = {"X-Vast-Event-Id": "another", "X-Vast-Delivery-Attempt": "2"}
    assert [bell.call(body, **ours, **again) for _ in range(3)] == [204] * 3
    assert bell.wakeups.taken() == set()
    bell.cloud.clock.advance(301.0)
    assert bell.call(body, **ours) == 401


def test_what_is_too_big_or_no_call_is_refused_unread(bell: Bell) -> None:
    assert bell.call(json.dumps({"message": "x" * BODY_MOST}).encode()) == 413
    for sent, status in (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"405"),
        (b"POST / HTTP/1.1\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"411"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"POST / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
    ):
        got = bell.raw(sent)
        head, _, rest = got.partition(b"\r\n\r\n")
        assert status in head.splitlines()[0], (sent[:60], got)
        assert rest == b"", "nothing of a call comes back"
    assert bell.raw(b"<script>\r\n\r\n") == b""
    assert bell.raw(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}") == b"", "half a call is none"
    assert bell.wakeups.taken() == set()
    assert bell.call() == 204


def test_a_flood_is_told_to_come_later_and_rings_once(bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [bell.call() for _ in range(CALLS_MOST + 30)]
    assert answers == [204] * CALLS_MOST + [429] * 30, "Vast repeats what is answered with 429"
    assert bell.wakeups.taken() == {"vast"}
    assert bell.wakeups.taken() == set()
    bell.cloud.clock.advance(61.0)
    assert bell.call() == 204
    # who says nothing holds a place, for a moment only
    monkeypatch.setattr(wakeups, "PATIENCE_S", 0.5)
    address = bell.wakeups.address
    assert address is not None
    silent = [socket.create_connection(address, timeout=60) for _ in range(2 * wakeups.AT_ONCE)]
    try:
        for one in silent:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b"", "cut off"
    finally:
        for one in silent:
            one.close()
    wait_for(lambda: bell.call() == 204)


def test_what_it_takes_is_in_no_log(bell: Bell, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gpunb")
    bell.call(b'{"event_id": "e", "message": "\x1b[2J you are hacked"}'.replace(b"\x1b", b"\\u001b"))
    bell.call(**{"X-Vast-Signature-256": "sha256=hacked"})
    bell.wakeups.serve(on=True)
    text = caplog.text
    assert "1 calls to the webhook of Vast.ai were refused" in text
    assert "hacked" not in text
    assert bell.row["webhook_secret"] not in text


def test_it_listens_as_the_settings_say(bell: Bell, caplog: pytest.LogCaptureFixture) -> None:
    old = bell.wakeups.address
    bell.wakeups.serve(on=True)
    assert bell.wakeups.address == old, "nothing was changed"
    assert wakeups.call(bell.to.model_copy(update={"vast_listen": f"127.0.0.1:{old[1]}"})) != "", "it is 2026"  # type: ignore[index]
    # a port that another program has: the supervisor goes on, says so once, and tries again
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        for _ in range(3):
            bell.listen(at)
        assert bell.wakeups.address is None
        assert caplog.text.count(f"calls of Vast.ai can't be taken at {at}") == 1
    wait_for(lambda: bell.wakeups.serve(on=True) or bell.wakeups.address is not None)
    bell.wakeups.serve(on=False)
    assert bell.wakeups.address is None, "only the leader listens"
    bell.wakeups.serve(on=True)
    assert bell.wakeups.address is not None
    bell.to = NotifySettings()
    bell.wakeups.serve(on=True)
    assert bell.wakeups.address is None, "off by default"


class Vast(ScriptedCloud):
    """A scripted cloud by Vast's name."""

    name: ClassVar[str] = "vast"


def test_the_supervisor_looks_at_once(world: World, bell: Bell) -> None:
    """With an hour between its ticks, and a list that is fresh: only the call makes it ask the cloud."""
    world.cloud = Vast(world.clock)
    session = world.rent(hours=None, idle_s=None)
    looks = threading.Semaphore(0)
    stop = threading.Event()
    path = world.path

    def supervise() -> None:
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open(
            path, clock=world.clock, owner="watch", owner_lives=lambda other: other == "watch"
        ) as ledger:
            process.run(
                ledger,
                lambda _: world.cloud,
                host=world.host,
                tick_s=3600.0,
                stop=stop,
                each=lambda _: looks.release(),
                wakeups=bell.wakeups,
            )

    watch = threading.Thread(target=supervise, daemon=True)
    watch.start()
    try:
        assert looks.acquire(timeout=60)
        machine = world.cloud.machines[world.ledger.get(session.id).instance_id]
        machine.state = InstanceState.STOPPED
        assert bell.call(**{"X-Vast-Signature-256": "sha256=0"}) == 401
        assert bell.call(notification("outbid", "end everything now", bell.cloud.clock.now())) == 204
        assert looks.acquire(timeout=60), "it looks"
        assert world.ledger.get(session.id).state.value == "stopped", "as the cloud says"
        assert len(world.cloud.billed()) == 1, "a call decides nothing"
    finally:
        stop.set()
        watch.join(60)
    assert not watch.is_alive()
    assert bell.wakeups.address is None


def test_the_simulated_cloud_calls_by_itself(bell: Bell) -> None:
    """As Vast does when a machine is outbid: what is subscribed to, and nothing else."""
    from support.rentals.vast_cloud import World as VastWorld
    from support.rentals.vast_cloud import provider

    vast = VastWorld(bell.cloud, provider(bell.cloud, bell.cloud.key))
    made = vast.running(vast.rent())
    assert bell.wakeups.taken() == set(), "started: not subscribed to"
    vast.provider.destroy(made.id)
    vast.wait(600)
    bell.cloud.settle()
    wait_for(lambda: bell.wakeups.taken() == {"vast"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('vast_secret = "short"', ["notify.vast_secret", "****", "16 characters"]),
        ('vast_listen = "8750"', ["notify.vast_listen", "ADDRESS:PORT"]),
        ('vast_listen = "localhost:8750"', ["notify.vast_listen", "127.0.0.1:8750"]),
        ('vast_listen = "127.0.0.1:0"', ["notify.vast_listen", "127.0.0.1:0"]),
        ('vast_listen = "127.0.0.1:65536"', ["notify.vast_listen"]),
        ('vast_secrt = "0123456789abcdef"', ["notify.vast_secrt", "did you mean 'vast_secret'"]),
    ],
)
def test_a_bad_setting_is_an_error(world: World, line: str, words: list[str]) -> None:
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[notify]\n{line}\n")
    with pytest.raises(SettingsError) as err:
        own()
    text = f"{err.value.message} {err.value.hint}"
    assert all(one in text for one in words), text
