"""What a browser's widget manager does, over jupyter_client: models by comm id, messages both ways."""

from __future__ import annotations

import time
from queue import Empty
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Browser:
    """Follows a kernel's IOPub and keeps the widgets' state as it is told."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.models: dict[str, dict[str, Any]] = {}
        self.buffers: dict[str, dict[tuple[Any, ...], bytes]] = {}
        self.closed: set[str] = set()
        self.heard: list[dict[str, Any]] = []
        self.opened: list[str] = []

    def take(self, message: dict[str, Any]) -> None:
        self.heard.append(message)
        content, kind = message["content"], message["msg_type"]
        if kind == "comm_open":
            comm_id = content["comm_id"]
            assert comm_id not in self.models, "opened twice"
            self.opened.append(comm_id)
            self.models[comm_id] = dict(content["data"].get("state", {}), _target=content["target_name"])
            self.buffers[comm_id] = {}
            self._buffers(comm_id, content["data"], message["buffers"])
        elif kind == "comm_msg":
            assert content["comm_id"] in self.models, "a message for a model that is not there"
            if content["data"].get("method") in ("update", "echo_update"):
                self.models[content["comm_id"]].update(content["data"]["state"])
                self._buffers(content["comm_id"], content["data"], message["buffers"])
        elif kind == "comm_close":
            self.closed.add(content["comm_id"])
        elif kind in ("display_data", "execute_result"):
            view = content["data"].get("application/vnd.jupyter.widget-view+json")
            if view is not None:
                assert view["model_id"] in self.models, "a view before its model"

    def _buffers(self, comm_id: str, data: dict[str, Any], buffers: list[Any]) -> None:
        for path, raw in zip(data.get("buffer_paths", []), buffers, strict=True):
            self.buffers[comm_id][tuple(path)] = bytes(raw)

    def until(self, check: Callable[[], Any], seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            found = check()
            if found:
                return found
            assert time.monotonic() < end, f"not within {seconds} s; models: {str(self.models)[:2000]}"
            try:
                self.take(self.client.get_iopub_msg(timeout=0.1))
            except Empty:
                continue

    def run(self, code: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        """Run a cell; what it showed, in order."""
        return self.follow(self.client.execute(code), seconds)

    def follow(self, message: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        self.until(lambda: self.idle(message), seconds)
        return self.of(message)

    def of(self, message: str) -> list[dict[str, Any]]:
        return [one for one in self.heard if one["parent_header"].get("msg_id") == message]

    def idle(self, message: str) -> bool:
        return any(
            one["msg_type"] == "status" and one["content"]["execution_state"] == "idle"
            for one in self.of(message)
        )

    def text(self, message: str) -> str:
        return "".join(one["content"]["text"] for one in self.of(message) if one["msg_type"] == "stream")

    def send(self, comm_id: str, data: dict[str, Any], buffers: list[bytes] | None = None) -> str:
        """A comm_msg from the page; its id."""
        session = self.client.session
        message = session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        session.send(self.client.shell_channel.socket, message, buffers=buffers)
        return str(message["header"]["msg_id"])

    def set(self, comm_id: str, **state: Any) -> str:
        """Move a control; returns when the kernel has handled it."""
        message = self.send(comm_id, {"method": "update", "state": state, "buffer_paths": []})
        self.until(lambda: self.idle(message))
        return message

    def named(self, name: str) -> str:
        """The id of the newest model of that ``_model_name``."""
        found = [comm for comm in self.opened if self.models[comm].get("_model_name") == name]
        assert found, [self.models[comm].get("_model_name") for comm in self.opened]
        return found[-1]
