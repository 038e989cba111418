"""The current state of open comms: their messages so far, folded into one comm_open each.

Both ends keep this: the agent, so that a late frontend gets the current state
and not all messages; a frontend, so that a reloaded page is answered locally,
and so that the last state stays when the host is gone.

A widget's state is folded by the rules of ipywidgets' protocol 2: ``update``
and ``echo_update`` name the keys that changed, buffers have a path in the
state. Comms of other targets keep the message they were opened with.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TYPES = frozenset(["comm_open", "comm_msg", "comm_close"])
FOLDED = ("update", "echo_update")


class Model:
    """One open comm.

    Attributes
    ----------
    target
        ``jupyter.widget`` for all of ipywidgets.
    state
        A widget's state without its buffers, JSON-able.
    buffers
        Path in the state -> bytes.
    """

    def __init__(
        self, content: Mapping[str, Any], metadata: Mapping[str, Any], buffers: Sequence[Any]
    ) -> None:
        data = content.get("data")
        self.target = str(content.get("target_name", ""))
        self.metadata = dict(metadata)
        self.data: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
        self.state: dict[str, Any] = {}
        self.buffers: dict[tuple[Any, ...], bytes] = {}
        self.raw = [bytes(buffer) for buffer in buffers]
        if isinstance(self.data.get("state"), dict):
            self.raw = []
            self.fold(self.data, buffers)

    def fold(self, data: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Apply the changed keys of an update."""
        state = data.get("state")
        if not isinstance(state, dict):
            return
        paths = data.get("buffer_paths")
        pairs = list(zip(paths if isinstance(paths, list) else [], buffers))
        changed = set(state) | {path[0] for path, _ in pairs if isinstance(path, list) and path}
        self.state.update(state)
        for path in [path for path in self.buffers if path[0] in changed]:
            del self.buffers[path]
        for path, raw in pairs:
            if isinstance(path, list) and path:
                self.buffers[tuple(path)] = bytes(raw)
                if path[0] not in state:  # the whole value is the buffer
                    self.state.pop(path[0], None)

    def picked(self, keys: set[str] | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """Return the state as ``{"state", "buffer_paths"}`` and its buffers; `keys` only, if given."""
        state = {key: one for key, one in self.state.items() if keys is None or key in keys}
        paths = [path for path in self.buffers if keys is None or path[0] in keys]
        return {"state": state, "buffer_paths": [list(path) for path in paths]}, [
            self.buffers[path] for path in paths
        ]

    def opening(self, comm_id: str) -> tuple[dict[str, Any], dict[str, Any], list[bytes]]:
        """Build a comm_open with the current state: content, metadata and buffers."""
        data, buffers = self.data, self.raw
        if isinstance(self.data.get("state"), dict):
            picked, buffers = self.picked()
            data = dict(self.data, **picked)
        content = {"comm_id": comm_id, "target_name": self.target, "target_module": None, "data": data}
        return content, self.metadata, buffers


class Models:
    """All open comms, by id."""

    def __init__(self) -> None:
        self.open: dict[str, Model] = {}

    def take(
        self, kind: str, content: Mapping[str, Any], metadata: Mapping[str, Any], buffers: Sequence[Any]
    ) -> None:
        """Apply one comm_open, comm_msg or comm_close."""
        comm_id = str(content.get("comm_id"))
        if kind == "comm_open":
            self.open[comm_id] = Model(content, metadata, buffers)
        elif kind == "comm_close":
            self.open.pop(comm_id, None)
        else:
            model, data = self.open.get(comm_id), content.get("data")
            if model is not None and isinstance(data, dict) and data.get("method") in FOLDED:
                model.fold(data, buffers)

    def openings(self) -> Iterator[tuple[dict[str, Any], dict[str, Any], list[bytes]]]:
        """Yield a comm_open for each comm, in the order opened."""
        for comm_id, model in self.open.items():
            yield model.opening(comm_id)


def parse(parts: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Parse a comm message into content, metadata and buffers.

    Raises
    ------
    ValueError
        It is not one.
    """
    if len(parts) < 2:
        raise ValueError("a comm message of %d parts" % len(parts))
    content, metadata = (json.loads(bytes(part).decode("utf-8")) for part in parts[:2])
    if not isinstance(content, dict) or not isinstance(metadata, dict):
        msg = "a comm message whose content is no object"
        raise ValueError(msg)  # noqa: TRY004 - one word for every bad message
    return content, metadata, list(parts[2:])


def message_name(front: str, number: int) -> str:
    """The id under which a frontend's message is sent to the kernel; its output names it as parent."""
    return "comm-%s-%d" % (front, number)
