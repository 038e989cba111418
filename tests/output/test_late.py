"""What comes after a cell's end: shown where the cell is, made harmless, and bounded."""

from __future__ import annotations

import json
from typing import Any

from gpunb.output import late
from gpunb.output.late import MOST_KEPT, NOTEBOOK_LIMIT, PublishedSink
from gpunb.output.player import Player
from gpunb.output.sanitize.gate import MOST_DISPLAYS
from gpunb.remote.records import Record
from gpunb.remote.run import RunHandle
from tests.remote.conftest import Screen, wait_for


class Client:
    """As much of a client as a run's handle asks."""

    def __init__(self, trust: str = "stranger") -> None:
        self.trust, self.name = trust, "demo"
        self.endpoint = type("Endpoint", (), {"alias": "gpunb-s1"})
        self.let_go: list[str] = []

    def ack(self, run: str, number: int) -> None:
        pass

    def forget(self, handle: RunHandle) -> None:
        self.let_go.append(handle.id)


class Ended:
    """A run that has ended, followed on; `said` is what was published."""

    def __init__(self, client: Client, run_id: str = "k3v9k3v9") -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.handle = RunHandle(client, run_id)  # type: ignore[arg-type]
        self.handle.stays = True
        player = Player(self.handle, Screen(), interactive=True)  # type: ignore[arg-type]
        self.handle.take(Record(1, "end", {"state": "ok"}, []))
        player.play(self.handle.next(1.0))  # type: ignore[arg-type]
        sink = PublishedSink(lambda kind, content: self.said.append((kind, dict(content))))
        late.keep(self.handle, player, sink)

    def say(self, kind: str, head: dict[str, Any], data: bytes) -> None:
        self.handle.take(Record(self.handle.seen + 1, kind, head, [memoryview(data)]))

    def print(self, data: bytes) -> None:
        self.say("stream", {"seg": [["stdout", len(data)]]}, data)

    def display(self, **data: str) -> None:
        content = {"data": {name.replace("_", "/"): text for name, text in data.items()}}
        content["transient"] = {"display_id": "mine"}
        self.say("msg", {"type": "display_data"}, json.dumps(content).encode())


def test_it_is_shown_in_order_and_made_harmless() -> None:
    run = Ended(Client())
    run.print(b"late \x1b]0;title\x07\x1b[31mred\x1b[0m\n")
    run.display(text_html="<b>x</b><script>alert(1)</script>")
    run.say("input", {"prompt": "password? "}, b"")
    run.print(b"end\n")
    wait_for(lambda: run.said and run.said[-1][1].get("text") == "end\n")
    kinds = [kind for kind, _ in run.said]
    assert kinds == ["stream", "display_data", "stream", "stream"]
    assert "waits for an answer" in run.said[2][1]["text"]  # nobody is asked in the middle of another cell
    assert "title" not in run.said[0][1]["text"]
    assert "script" not in run.said[1][1]["data"]["text/html"]
    assert run.said[1][1]["transient"] == {"display_id": "gpunb-s1:mine"}


def test_endless_text_is_let_go_and_said_once() -> None:
    client = Client()
    run = Ended(client)
    for _ in range(NOTEBOOK_LIMIT // (1 << 20) + 2):
        run.print(b"x" * (1 << 20))
    wait_for(lambda: client.let_go == ["k3v9k3v9"])
    run.print(b"more")
    text = "".join(content["text"] for _, content in run.said)
    assert text.count("no more of it is shown here: `gpunb logs k3v9k3v9`") == 1
    assert len(text) < NOTEBOOK_LIMIT + 500


def test_endless_displays_and_endless_small_talk_are_let_go(monkeypatch) -> None:
    client = Client()
    run = Ended(client)
    for _ in range(MOST_DISPLAYS + 10):
        run.display(text_plain="x")
    wait_for(lambda: client.let_go == ["k3v9k3v9"])
    assert len(run.said) == MOST_DISPLAYS + 1
    monkeypatch.setattr(late, "MOST_RECORDS", 200)
    small = Ended(client, "small")
    for _ in range(300):
        small.print(b".")
    wait_for(lambda: client.let_go[-1] == "small")
    assert len(small.said) == 201


def test_the_last_that_said_something_are_followed() -> None:
    client = Client()
    runs = [Ended(client, f"run{number}") for number in range(MOST_KEPT)]
    runs[0].print(b"still here")
    wait_for(lambda: runs[0].said)
    Ended(client, "one-more")
    assert client.let_go == ["run1"]


def test_a_strangers_text_for_a_cell_is_left_out() -> None:
    for trust, expected in (("stranger", []), ("datacenter", ["x = 1"]), ("own", ["x = 1"])):
        screen, put = Screen(), []
        screen.next_input = lambda text, *, replace, put=put: put.append(text)  # type: ignore[attr-defined]
        player = Player(RunHandle(Client(trust), "k"), screen, interactive=False)  # type: ignore[arg-type]
        content = json.dumps({"source": "set_next_input", "text": "x = 1", "replace": True}).encode()
        player.play(Record(1, "msg", {"type": "next_input"}, [memoryview(content)]))
        player.finish()
        assert put == expected, trust
        notes = " ".join(event[1] for event in screen.events if event[0] == "note")
        assert ("text for a cell of this notebook" in notes) is (trust == "stranger")
