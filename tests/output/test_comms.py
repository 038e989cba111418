"""The stream of comm messages over lines that break, agents that die, parts that roll."""

from __future__ import annotations

import random
import sys
import threading

import pytest

from gpunb.errors import RunError, RunNotFound
from gpunb.output import show
from gpunb.output.widget_relay import Relay
from gpunb.remote import AgentClient
from tests.remote.conftest import Screen, kill_agent, wait_for
from tests.support.machines.proxy import Proxy

pytestmark = pytest.mark.slow

COUNTER = """
import time, ipywidgets as w
class Counter(w.Widget):
    pass
label = w.Label("0")
label.observe(lambda change: print("now", change["new"]), "value")
"""
STEPS = """
for n in range(1, {count} + 1):
    label.value = str(n)
    time.sleep(0.01)
"""


class Page:
    """A port that keeps what a browser would get, and insists on order."""

    def __init__(self):
        self.state = {}
        self.values = {}
        self.closed_ids = []
        self.notes = []
        self.outputs = []
        self.woken = threading.Event()

    def publish(self, kind, content, metadata, buffers, parent):
        if kind == "comm_open":
            assert content["comm_id"] not in self.state
            self.state[content["comm_id"]] = dict(content["data"].get("state", {}))
            self.values[content["comm_id"]] = []
        elif kind == "comm_msg":
            state = content["data"].get("state", {})
            self.state[content["comm_id"]].update(state)
            if "value" in state and content["data"]["method"] == "update":
                self.values[content["comm_id"]].append(state["value"])
        elif kind != "comm_close":
            self.outputs.append((kind, content, parent["header"]["msg_id"]))

    def opened(self, comm_id, target, relay):
        return comm_id in self.state

    def closed(self, comm_id):
        self.closed_ids.append(comm_id)

    def call_soon(self, relay):
        self.woken.set()

    def note(self, text):
        self.notes.append(text)

    def label(self):
        found = [comm for comm, state in self.state.items() if state.get("_model_name") == "LabelModel"]
        assert len(found) == 1
        return found[0]


class WidgetScreen(Screen):
    def __init__(self, relay):
        super().__init__()
        self.relay = relay

    def comm(self, handle, part, number):
        self.relay.sync(handle.id, {"header": {"msg_id": "cell"}}, part, number)


def front(client):
    relay = Relay(client, Page())
    return relay, relay.port, WidgetScreen(relay)


def message(comm_id, msg_id="page1", **state):
    data = {"method": "update", "state": state, "buffer_paths": []}
    return {"header": {"msg_id": msg_id}, "content": {"comm_id": comm_id, "data": data}}


@pytest.fixture
def proxied(host):
    with Proxy(host.port) as proxy:
        endpoint = host.endpoint(port=proxy.port)
        with AgentClient.connect(endpoint, python=sys.executable, trust="own", patience=60) as client:
            yield client, proxy


def test_each_message_once_and_in_order_over_cuts(proxied):
    client, proxy = proxied
    _, page, screen = front(client)
    show(client.run_cell(COUNTER), screen)
    rng = random.Random(5)
    stop = threading.Event()

    def cut():
        while not stop.wait(rng.uniform(0.2, 0.7)):
            proxy.drop()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        show(client.run_cell(STEPS.format(count=300)), screen)
    finally:
        stop.set()
        thread.join()
    assert page.values[page.label()] == [str(n) for n in range(1, 301)]


def test_the_pages_messages_reach_the_kernel_once_over_cuts(proxied):
    client, proxy = proxied
    relay, page, screen = front(client)
    show(
        client.run_cell(COUNTER + "got = []\nlabel.observe(lambda c: got.append(c['new']), 'value')"), screen
    )
    rng = random.Random(6)
    for n in range(60):
        relay.send("comm_msg", message(page.label(), f"page{n}", value=f"v{n}"))
        if rng.random() < 0.2:
            proxy.drop()
    show(client.run_cell("print(got == [f'v{n}' for n in range(60)], len(got))"), screen)
    assert screen.text() == "True 60\n"
    relay.pump()
    texts: dict[str, str] = {}
    for _, content, parent in page.outputs:  # a line may come in pieces
        texts[parent] = texts.get(parent, "") + content["text"]
    assert list(texts.items()) == [(f"page{n}", f"now v{n}\n") for n in range(60)]


def test_an_agent_that_is_killed_loses_and_repeats_nothing(host, client):
    relay, page, screen = front(client)
    show(client.run_cell(COUNTER), screen)
    relay.send("comm_msg", message(page.label(), value="mine"))
    run = client.run_cell(STEPS.format(count=200))
    wait_for(lambda: client.run_info(run.id).last > 40)
    kill_agent(host)
    show(run, screen)
    assert page.values[page.label()][-200:] == [str(n) for n in range(1, 201)]
    relay.send("comm_msg", message(page.label(), value="again"))
    screen.events.clear()
    show(client.run_cell("print(label.value)"), screen)
    assert screen.text() == "again\n"


def test_parts_roll_and_one_who_comes_late_reads_the_newest_only(host, client, reconnect):
    _, page, screen = front(client)
    show(client.run_cell(COUNTER), screen)
    show(client.run_cell("for n in range(120):\n    label.value = str(n) * 100_000"), screen)
    folder = host.home / ".gpunb/kernels/main/comms"
    parts = sorted(folder.iterdir())
    assert len(parts) >= 2
    assert parts[-1].name > "comms00000002"
    expected = [str(n) * 100_000 for n in range(120)]
    assert page.values[page.label()] == expected
    late, other, screen2 = front(reconnect())
    run = client.run_cell("label.value = 'last'")
    show(run, screen)
    show(late.client.attach(run.id), screen2)
    assert other.state[other.label()]["value"] == "last"
    assert len(other.values[other.label()]) < 100
    # a run whose part is gone is shown with what is there now
    with pytest.raises(RunNotFound):
        client.attach("comms00000099")


def test_a_kernel_that_is_gone_greys_its_widgets_out(host, client, reconnect):
    relay, page, screen = front(client)
    code = "import ipywidgets as w\ns = w.IntSlider(3)\ndisplay(s)"
    run = client.run_cell(code)
    show(run, screen)
    (slider,) = [comm for comm, state in page.state.items() if state["_model_name"] == "IntSliderModel"]
    client.restart_kernel()
    wait_for(lambda: (relay.pump(), page.state[slider]["disabled"])[1])
    relay.send("comm_msg", message(slider, value=9))
    assert page.state[slider]["value"] == 3
    show(client.run_cell(code), screen)
    assert sum(state["_model_name"] == "IntSliderModel" for state in page.state.values()) == 2
    # one who attaches to the old run later gets its last picture
    late, other, screen2 = front(reconnect())
    show(late.client.attach(run.id), screen2)
    wait_for(lambda: (late.pump(), other.state[slider]["disabled"])[1])


def test_a_line_that_is_gone_for_good(client):
    relay, page, screen = front(client)
    show(client.run_cell("import ipywidgets as w\ns = w.IntSlider(3)\ndisplay(s)"), screen)
    (slider,) = [comm for comm, state in page.state.items() if state["_model_name"] == "IntSliderModel"]
    client.close()
    assert page.woken.is_set()
    relay.pump()
    assert relay.gone
    assert page.state[slider]["disabled"] is True
    relay.send("comm_msg", message(slider, value=9))
    assert page.state[slider]["value"] == 3


def test_a_busy_kernel_is_not_waited_for(client):
    relay, page, screen = front(client)
    show(client.run_cell(COUNTER), screen)
    run = client.run_cell("time.sleep(3)\nprint('slept')")
    wait_for(lambda: run.info().state == "running")
    relay.send("comm_msg", message(page.label(), value="while busy"))
    assert not run.info().over
    show(run, screen)
    show(client.run_cell("print(label.value)"), screen)
    assert screen.text() == "slept\nwhile busy\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "execute_request"}, "type: 'execute_request'"),
        ({"from": "x"}, "from, seq: 'x'"),
        ({"seq": 0}, "and 0 name no message"),
        ({"seq": "1"}, "and '1' name no message"),
    ],
)
def test_requests_that_break_the_rules_are_refused_by_field(client, changes, words):
    call = client.begin(
        "comm", [b"{}", b"{}"], **({"type": "comm_msg", "from": "abcdefgh", "seq": 1} | changes)
    )
    assert call.done.wait(20)
    assert isinstance(call.error, RunError)
    assert words in str(call.error)
