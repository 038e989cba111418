"""Runs in a notebook's kernel: hostile runs of a mimic of a host, through gpunb's real client and sink.

A host's comm messages come as a stream of their own (`gpunb.agent.daemon.comms`), to which the run's
journal points: put into the journal itself they reach nobody, and a test of widgets tests nothing.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gpunb.agent.shared import frames
from gpunb.agent.shared.comm_state import TYPES
from gpunb.output import NotebookSink
from gpunb.output.player import Player
from tests.attack.frame import Place
from tests.attack.hostile.mimic import Mimic, client, record
from tests.attack.hostile.payloads import FRAMES, PAYLOADS, fill

_stack = ExitStack()
_parts = itertools.count(1)
_open: list[Any] = []  # lines stay up: a page may ask its widgets' host


class _Nobody:
    url = ""


def message(number: int, run: str, kind: str, content: Any, buffers: list[str]) -> bytes:
    """One record of a run, or of a kernel's comm stream."""
    if kind == "stream":
        text = content.encode()
        return record(number, run, "stream", text, seg=[["stdout", len(text)]])
    metadata = b'{"version": "2.1.0"}' if kind in TYPES else b"{}"
    parts = [json.dumps(content).encode(), metadata, *[one.encode() for one in buffers]]
    return record(number, run, "msg", *parts, type=kind)


def host(place: Place, messages: list[tuple[str, Any, list[str]]]) -> Mimic:
    """A host whose one cell shows `messages`."""
    comms = [one for one in messages if one[0] in TYPES]
    shown = [one for one in messages if one[0] not in TYPES]
    part = f"atk{next(_parts):08d}"

    def cell(head: Any, channel: Any) -> None:
        run, numbers = head["run"], itertools.count(1)
        channel.sendall(frames.encode({"t": "res", "id": head["id"]}))
        if comms:
            channel.sendall(record(next(numbers), run, "comm", part=part, n=len(comms)))
        for one in shown:
            channel.sendall(message(next(numbers), run, *one))
        channel.sendall(record(next(numbers), run, "end", state="ok", exit=0))

    def info(head: Any, channel: Any) -> None:
        about = {"run": head["run"], "kind": "comms", "state": "running", "last": len(comms), "size": 1}
        channel.sendall(frames.encode({"t": "res", "id": head["id"], **about}))
        if "window" in head:
            for number, one in enumerate(comms, 1):
                channel.sendall(message(number, head["run"], *one))

    return Mimic(place, cell=cell, info=info, detach={}, comm={})


def play(name: str, url: str, trust: str = "stranger") -> None:
    """Show payload `name` in this cell, as a cell on a host of that trust would."""
    from IPython import get_ipython

    folder = Path(tempfile.mkdtemp(prefix="gpns", dir="/tmp"))
    place = Place(folder, _Nobody(), folder, _stack)  # type: ignore[arg-type]
    framed = name in FRAMES
    line = client(place, host(place, fill(FRAMES[name] if framed else PAYLOADS[name], url)), trust=trust)
    found = line.__enter__()
    _open.append(line)
    handle = found.run_cell("1")
    shell = get_ipython()  # type: ignore[no-untyped-call]
    player = Player(handle, NotebookSink(shell), interactive=False, frames=framed)
    for one in handle.records(60.0):
        player.play(one)
    player.finish()
