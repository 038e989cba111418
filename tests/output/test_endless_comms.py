"""A stream of widget messages that does not end must leave the kernel here to its user."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import pytest

from gpunb.output import widget_relay
from gpunb.output.ipykernel_port import KernelPort
from gpunb.output.widget_relay import Relay
from gpunb.remote.records import Record
from gpunb.remote.run import RunHandle
from tests.output.test_safe_gate import opening

UPDATE = json.dumps({"comm_id": "c1", "data": {"method": "update", "state": {"value": "y"}}}).encode()


class Loop:
    """The kernel's loop: the two of tornado's calls that are used, over a real asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add_callback(self, call, *args):
        self._loop.call_soon_threadsafe(call, *args)

    def call_later(self, seconds, call, *args):
        self._loop.call_later(seconds, call, *args)


@pytest.fixture
def flood():
    """A relay whose host never falls silent, and the loop that it shares with the user's cells."""
    loop = asyncio.new_event_loop()
    sent: list[str] = []
    kernel = SimpleNamespace(
        io_loop=Loop(loop),
        session=SimpleNamespace(send=lambda _socket, kind, *_args, **_more: sent.append(kind)),
        iopub_socket=None,
        ident="k",
        get_parent=dict,
    )
    port = KernelPort.__new__(KernelPort)
    port.kernel, port._waiting = kernel, False
    port.manager = SimpleNamespace(comms={}, register_comm=lambda _comm: None)
    port.opened = lambda *_args: False
    client = SimpleNamespace(
        trust="stranger", endpoint=SimpleNamespace(alias="gpunb-s1"), ack=lambda *_: None
    )
    relay = Relay(client, port)
    handle = RunHandle(client, "x")
    handle.wake = lambda: port.call_soon(relay)
    relay._handle, relay._part = handle, "abc00000001"
    stop = threading.Event()

    def pour():
        number = 1
        kind, content = opening("LabelModel")
        raw = json.dumps(content).encode()
        handle.take(Record(number, "msg", {"type": kind}, [memoryview(raw), memoryview(b"{}")]))
        while not stop.is_set():
            if handle._unread > 2**20:  # it keeps to its window, and fills it
                time.sleep(0)
                continue
            number += 1
            parts = [memoryview(UPDATE), memoryview(b"{}")]
            handle.take(Record(number, "msg", {"type": "comm_msg"}, parts))

    thread = threading.Thread(target=loop.run_forever)
    pouring = threading.Thread(target=pour)
    thread.start()
    pouring.start()
    yield loop, sent, relay
    stop.set()
    pouring.join(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    assert not thread.is_alive()
    loop.close()


def test_the_user_has_a_turn_between_the_host_s_messages(flood):
    loop, sent, _ = flood
    waited = []
    for _ in range(10):
        began = time.monotonic()
        turn = threading.Event()
        loop.call_soon_threadsafe(turn.set)  # as a cell of the user's that waits for the loop
        assert turn.wait(5)
        waited.append(time.monotonic() - began)
        time.sleep(0.05)
    assert max(waited) < 2
    assert len(sent) > 10  # and the host's messages go on


def test_one_pump_takes_a_moment_and_says_that_there_is_more(monkeypatch):
    sent = []
    client = SimpleNamespace(
        trust="stranger", endpoint=SimpleNamespace(alias="gpunb-s1"), ack=lambda *_: None
    )
    port = SimpleNamespace(opened=lambda *_: False, publish=lambda kind, *_: sent.append(kind))
    relay = Relay(client, port)
    relay._handle, relay._part = handle, _ = RunHandle(client, "x"), "abc00000001"
    kind, content = opening("LabelModel")
    raw = json.dumps(content).encode()
    handle.take(Record(1, "msg", {"type": kind}, [memoryview(raw), memoryview(b"{}")]))
    for number in range(2, 50):
        parts = [memoryview(UPDATE), memoryview(b"{}")]
        handle.take(Record(number, "msg", {"type": "comm_msg"}, parts))
    monkeypatch.setattr(widget_relay, "PUMP_S", -1.0)
    assert relay.pump()
    assert len(sent) == 1
    assert relay.behind
    monkeypatch.setattr(widget_relay, "PUMP_S", 60.0)
    assert not relay.pump()
    assert len(sent) == 49
    assert not relay.behind
