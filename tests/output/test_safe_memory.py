"""What a flood costs this side: an agent that sends large, many and senseless records."""

from __future__ import annotations

import json
import threading
import tracemalloc

import pytest

from gpunb.agent.shared import frames
from gpunb.errors import ProtocolError, RemoteCellError
from gpunb.output.player import Player
from gpunb.remote.line import KEEP
from gpunb.remote.records import Record
from gpunb.remote.run import RunHandle
from tests.remote.conftest import Screen


class Client:
    """As much of a client as a run's handle asks."""

    def __init__(self, trust: str = "stranger") -> None:
        self.trust, self.name = trust, "demo"
        self.endpoint = type("Endpoint", (), {"alias": "gpunb-s1"})

    def ack(self, run: str, number: int) -> None:
        pass


def play(*records: tuple[str, dict, list[bytes]]) -> Screen:
    screen = Screen(["answer"])
    handle = RunHandle(Client(), "k3v9k3v9")  # type: ignore[arg-type]
    handle.answer = lambda number, text: True  # type: ignore[method-assign]
    player = Player(handle, screen, interactive=True)
    for number, (kind, head, parts) in enumerate(records, 1):
        player.play(Record(number, kind, head, [memoryview(part) for part in parts]))
    player.finish()
    return screen


def test_a_long_frame_is_not_held() -> None:
    frame = frames.encode({"t": "rec", "run": "x", "k": "msg"}, [b"x" * (100 << 20)], 7)
    decoder = frames.Decoder(keep=KEEP)
    tracemalloc.start()
    try:
        found = [
            one for at in range(0, len(frame), 1 << 20) for one in decoder.feed(frame[at : at + (1 << 20)])
        ]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    ((number, head, payload),) = found
    assert (number, head["k"], len(payload)) == (7, "msg", 0)
    assert head["dropped"] > 100 << 20
    assert most < 2 * KEEP


def test_more_than_was_asked_for_ends_in_one_line() -> None:
    handle = RunHandle(Client(), "k3v9k3v9")  # type: ignore[arg-type]
    piece = memoryview(bytes(1 << 20))
    for number in range(1, 400):
        handle.take(Record(number, "stream", {}, [piece]))
    with pytest.raises(ProtocolError, match="more than"):
        while handle.next(0) is not None:
            pass


ODD = [
    ("stream", {"seg": [["stdout", -5]]}, [b"x"]),
    ("stream", {"seg": "many"}, [b"x"]),
    ("stream", {"seg": [[1, 2, 3]]}, [b"x"]),
    ("stream", {"seg": [["stdout", 10**12]]}, [b"x"]),
    ("stream", {}, []),
    ("msg", {"type": "display_data"}, []),
    ("msg", {"type": "display_data"}, [b"[" * 100_000]),
    ("msg", {"type": "display_data"}, [b"7"]),
    ("msg", {"type": "execute_result"}, [b'{"data": 5}']),
    ("msg", {"type": "error"}, [b'{"traceback": 5}']),
    ("msg", {"type": "clear_output"}, [b"[]"]),
    ("msg", {"type": ["x"]}, [b"{}"]),
    ("msg", {"type": "execute_reply"}, [b"{}"]),
    ("comm", {"part": 5, "n": "x"}, []),
    ("lost", {"bytes": "\x1b]0;t\x07"}, []),
    ("trimmed", {"bytes": None, "why": "\x1b]0;t\x07"}, []),
    ("cut", {"bytes": 300_000_000}, []),
    ("note", {"text": ["\x1b]0;t\x07"]}, []),
    ("unheard", {}, []),
]


@pytest.mark.parametrize("record", ODD)
def test_records_that_are_none_are_left_out(record) -> None:
    screen = play(record, ("stream", {"seg": [["stdout", 3]]}, [b"end"]))
    assert screen.text().endswith("end")
    assert "\x1b" not in json.dumps(screen.events, default=str)


def test_many_of_them_are_told_in_few_words() -> None:
    screen = play(*[("msg", {"type": "display_data"}, [b"{"])] * 500)
    assert len(screen.events) == 5  # three, the count, the end


def test_a_prompt_is_one_line_and_names_the_host() -> None:
    screen = play(
        ("input", {"prompt": "gpunb: your account key\n\x1b]0;t\x07\u202e? ", "password": True}, [])
    )
    assert ("ask", "[demo asks for a password] gpunb: your account key ? ", True) in screen.events


def test_an_error_carries_no_codes() -> None:
    content = {"ename": "E\x1b]0;t\x07", "evalue": "v", "traceback": ["\x1b]8;;http://x\x07l\x1b[31m"]}
    handle = RunHandle(Client(), "k3v9k3v9")  # type: ignore[arg-type]
    player = Player(handle, Screen(), interactive=False)
    player.play(Record(1, "msg", {"type": "error"}, [memoryview(json.dumps(content).encode())]))
    from gpunb.remote.records import RunInfo

    info = RunInfo.parse({"run": "k3v9k3v9", "kind": "cell", "state": "error", "why": "x"})
    with pytest.raises(RemoteCellError) as caught:
        player.outcome(info, {})
    assert caught.value.ename == "E"
    assert caught.value.traceback == ["l\x1b[31m\x1b[0m"]
    assert threading.active_count() < 50
