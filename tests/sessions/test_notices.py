"""Notices: each once, whatever restarts, over a real webhook and a real mail server; never a secret."""

from __future__ import annotations

import email
import json
import math
import socket
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from support.webhook import SECRET, Hook

from gpunb import paths
from gpunb.errors import SettingsError
from gpunb.providers.base import InstanceState
from gpunb.providers.features import PriceIncrease
from gpunb.sessions.access.host_access import Pulse
from gpunb.sessions.attempts import chain
from gpunb.sessions.ledger.notices import Notice
from gpunb.sessions.model import RunNote, SessionState
from gpunb.sessions.notices.outbox import RETRY_S, Outbox, own
from tests.sessions.scripted import ScriptedCloud, told
from tests.sessions.supervisor.test_next_machines import Next, rented, take
from tests.sessions.supervisor.test_next_machines import watch as watch_chain
from tests.sessions.supervisor.test_supervisor import TICK, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sessions.conftest import World

# apprise looks for modules that a new Python has no more
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


class Mailbox:
    """What a mail server took: the text of each message."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        message = email.message_from_bytes(envelope.content)
        parts = [one.get_payload(decode=True) for one in message.walk() if not one.is_multipart()]
        self.texts.append("\n".join(part.decode() for part in parts if isinstance(part, bytes)))
        return "250 OK"


class MailServer(Controller):
    """On a free port; its own first call to itself waits a second only."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        with socket.create_connection((self.hostname, self.port), 60.0) as line:
            line.recv(1024)


@pytest.fixture
def mail() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    server = MailServer(box, hostname="127.0.0.1", port=0, ready_timeout=60.0)
    server.start()
    yield box, server.port
    server.stop()


def notify(**values: Any) -> None:
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[notify]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))


class Asking(ScriptedCloud):
    """A cloud whose host asks for more."""

    def price_increases(self) -> list[PriceIncrease]:
        same = {f"{when}_{what}": 0.1 for when in ("old", "new") for what in
                ("disk_usd_gb_month", "up_usd_gb", "down_usd_gb", "fee")}  # fmt: skip
        return [
            PriceIncrease(id=7, instance_id=one.id, old_gpu_usd_h=2.0, new_gpu_usd_h=3.0, contract_end=None,
                          new_end=None, **same)
            for one in self.billed()
        ]  # fmt: skip

    def answer_price_increase(self, increase_id: int, *, accept: bool) -> None:
        raise NotImplementedError


def look(world: World, seconds: float) -> None:
    """A supervisor that lives so long, and its successor."""
    watcher = watch(world, list_s=0.0)
    outbox = Outbox(world.ledger, lambda name: world.cloud)
    end = world.clock.now + seconds
    while world.clock.now < end:
        watcher.tick()
        outbox.look(watcher.capped, watcher.crossed)
        world.clock.sleep(TICK)


def everything(world: World) -> list[Callable[[], object]]:
    """What makes each kind of notice, in turn."""
    ledger = world.ledger
    session = world.rent(hours=1.0, budget_usd=2.4, idle_s=math.inf)
    name = "train.py --token=abcdefgh"
    ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id, kind="job", name=name))
    world.host.beat = Pulse(told("aaaaaaaa", kind="job"))

    def outbid() -> None:
        other = world.rent(world.cloud.offer("o2"), hours=8.0)
        world.cloud.machines[other.instance_id].state = InstanceState.INTERRUPTED

    def lost() -> None:
        other = world.rent(world.cloud.offer("o3"), hours=8.0)
        world.clock.sleep(900.0)
        watch(world).tick()
        world.cloud.machines[other.instance_id].gone = True

    def stays() -> None:
        world.cloud.script.destroy_ignored = 10**6
        other = world.rent(world.cloud.offer("o4"), hours=8.0)
        ledger.transition(ledger.get(other.id), SessionState.ENDING, "user")

    def capped() -> None:
        world.rent(world.cloud.offer("o5"), hours=8.0)
        text = paths.config_file().read_text()
        paths.config_file().write_text(text + "[limits]\nusd_day = 0.5\n")

    return [
        lambda: ledger.finish_run("aaaaaaaa", "error"),
        lambda: look(world, 600),
        outbid,
        lost,
        lambda: world.clock.sleep(max(0.0, (session.lease.deadline or 0.0) - 590 - world.clock.now)),
        stays,
        lambda: look(world, 1200),
        capped,
    ]


def test_each_event_comes_once_over_ten_supervisors(
    world: World, hook: Hook, mail: tuple[Mailbox, int]
) -> None:
    box, port = mail
    world.cloud = Asking(world.clock)
    address = f"mailto://127.0.0.1:{port}?from=gpunb@example.org&to=me@example.org&mode=insecure"
    notify(webhook=hook.url, to=[address])
    look(world, TICK)  # turned on now: what was before is none
    for step in everything(world):
        step()
        for _ in range(2):
            look(world, 5 * TICK)
    look(world, 300)
    assert set(hook.kinds()) == set(own().events), hook.kinds()
    assert set(hook.ids().values()) == {1}, [one for one, count in hook.ids().items() if count > 1]
    assert len(hook.bodies) < sum(hook.ids().values()), "what happens together comes together"
    texts = [one["text"] for body in hook.bodies for one in body["notices"]]
    assert any(text.startswith("train.py") and "has failed" in text for text in texts), texts
    assert any("gpunb extend h100-1 1h keeps it" in text for text in texts), texts
    for text in texts:
        mails = [one for one in box.texts if text in one.replace("\r\n", "\n")]
        assert len(mails) == 1, (text, box.texts)
    said = json.dumps(hook.bodies) + "".join(box.texts)
    assert "abcdefgh" not in said, "what looks like a secret is left out"
    assert "the output of" not in said


def test_what_is_not_taken_is_tried_again_and_given_up_at_last(world: World, hook: Hook) -> None:
    notify(webhook=hook.url)
    world.ledger.note_notices([Notice(key="a", kind="run", text="a has ended")], ["webhook"])
    hook.status = 500
    world.rent(hours=8.0)
    look(world, 120)
    assert hook.bodies == []
    hook.status = 200
    look(world, 300)
    assert [one["id"] for body in hook.bodies for one in body["notices"]] == ["a"]
    world.ledger.note_notices([Notice(key="b", kind="run", text="b has ended")], ["webhook"])
    hook.status = 500
    outbox = Outbox(world.ledger, lambda name: world.cloud)
    for pause in (*RETRY_S, 0.0):
        outbox.look(None, {}, last=True)
        world.clock.sleep(pause)
    (given_up,) = [one for one in world.ledger.notices() if one.key == "b"]
    assert (given_up.left, given_up.failed) == ([], ["webhook"])


def test_two_supervisors_send_one(world: World, hook: Hook) -> None:
    notify(webhook=hook.url)
    world.ledger.note_notices([Notice(key="a", kind="run", text="a has ended")], ["webhook"])
    boxes = [Outbox(world.open(f"other-{one}"), lambda name: world.cloud) for one in range(4)]
    threads = [threading.Thread(target=box.look, args=(None, {})) for box in boxes]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60.0)
    for box in boxes:
        box.ledger.close()
    assert hook.ids() == Counter({"a": 1})


def test_a_run_whose_machine_was_taken_is_followed(world: World, hook: Hook) -> None:
    """Taken, on the next one, and in the end on none: each once, and no machine is lost beside it."""
    notify(webhook=hook.url)
    look(world, TICK)
    session = rented(world)
    world.ledger.update(session.id, name="fit")
    watcher = watch_chain(world, Next(world))
    outbox = Outbox(world.ledger, lambda name: world.cloud)

    def ticks(seconds: float) -> None:
        end = world.clock.now + seconds
        while world.clock.now < end:
            watcher.tick()
            outbox.look(None, {})
            world.clock.sleep(60.0)

    ticks(300.0)
    take(world)
    ticks(600.0)
    new = chain.newest(world.ledger, session)
    world.ledger.update(new.id, lease=replace(new.lease, deadline=world.clock.now + 200.0))
    take(world, "vanishes")
    ticks(600.0)
    texts = [one["text"] for body in hook.bodies for one in body["notices"] if one["kind"] == "machine"]
    assert len(texts) == 3, texts
    taken, goes_on, over = texts
    assert taken.startswith("the machine of fit was taken: its run goes on from its checkpoint")
    assert goes_on.startswith(
        f"fit goes on as run {new.ends_with} on H100 SXM of scripted for $2.00/h, attempt 2"
    )
    assert over.startswith("the machine of fit was taken, and its run does not go on: less than 5m")
    assert set(hook.ids().values()) == {1}


@pytest.mark.parametrize("asked", [False, True])
def test_output_is_in_a_notice_if_it_is_asked_for(world: World, hook: Hook, asked: bool) -> None:
    notify(webhook=hook.url, **({"output": True} if asked else {}))
    look(world, TICK)
    session = world.rent(hours=8.0)
    world.host.printed = "x" * 5000 + f"\n\x1b]52;c;cm0=\x07\u202eloss 0.1 token={SECRET}\n"
    world.ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id, kind="job"))
    world.ledger.finish_run("aaaaaaaa", "ok")
    outbox = Outbox(world.ledger, lambda name: world.cloud, host=world.host)
    for _ in range(3):
        outbox.look(None, {}, last=True)
    (notice,) = [one for body in hook.bodies for one in body["notices"] if one["kind"] == "run"]
    lines = notice.get("output", "").splitlines()
    assert lines[-1:] == (["loss 0.1 token=****"] if asked else [])
    assert len(lines) <= 10
    text = json.dumps(hook.bodies)
    assert len(text) < 4000
    assert SECRET not in text
    assert not {"\x1b", "\x07", "\u202e"} & set("".join(lines))


def test_without_a_place_nothing_is_noticed(world: World) -> None:
    session = world.rent(hours=0.1)
    world.ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id, kind="job"))
    world.ledger.finish_run("aaaaaaaa", "ok")
    look(world, 900)
    assert world.ledger.notices() == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('webhok = "https://x.example"', ["notify.webhok", "did you mean 'webhook'?"]),
        (f'webhook = "ftp://{SECRET}"', ["notify.webhook", "****", "https://"]),
        ('events = ["runs"]', ["notify.events.0", "'runs'"]),
        (f'to = ["{SECRET}", 3]', ["notify.to", "****"]),
    ],
)
def test_a_bad_setting_is_an_error_without_its_secret(world: World, line: str, words: list[str]) -> None:
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[notify]\n{line}\n")
    with pytest.raises(SettingsError) as err:
        own()
    text = f"{err.value.message} {err.value.hint}"
    assert all(one in text for one in words), text
    assert SECRET not in text
