"""Runs in a notebook's kernel: hostile runs of a mimic of a host, through gpunb's real client and sink."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gpunb.agent import protocol
from gpunb.remote import NotebookSink, show
from tests.attack.frame import Place
from tests.attack.mimic import Mimic, client, record
from tests.attack.payloads import PAYLOADS, fill

_open: dict[str, Any] = {}
_stack = ExitStack()


class _Nobody:
    url = ""


def play(name: str, url: str, trust: str = "stranger") -> None:
    """Show payload `name` in this cell, as a cell on a host of that trust would."""
    folder = Path(tempfile.mkdtemp(prefix="gpns", dir="/tmp"))
    place = Place(folder, _Nobody(), folder, _stack)  # type: ignore[arg-type]
    messages = fill(PAYLOADS[name], url)
    runs = iter(range(10**6))

    def cell(head: Any, channel: Any) -> None:
        run = head["run"]
        number = next(runs) * 0 + 1
        channel.sendall(protocol.encode({"t": "res", "id": head["id"]}))
        for kind, content in messages:
            raw = json.dumps(content).encode()
            if kind == "stream":
                text = content.encode()
                channel.sendall(record(number, run, "stream", text, seg=[["stdout", len(text)]]))
            else:
                channel.sendall(record(number, run, "msg", raw, b"{}", type=kind))
            number += 1
        channel.sendall(record(number, run, "end", state="ok", exit=0))

    with client(place, Mimic(place, cell=cell), trust=trust) as found:
        from IPython import get_ipython

        shell = get_ipython()  # type: ignore[no-untyped-call]
        show(found.run_cell("1"), NotebookSink(shell), interactive=False)
