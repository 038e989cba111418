"""The interface between a widget relay and the local kernel, and the answer to a reloaded page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.output.widget_relay import Relay

__all__ = ["CONTROL", "Port", "page_states"]

CONTROL = "jupyter.widget.control"


class Port(Protocol):
    """The local kernel's end, which the browser talks to. Called with the relay's lock held."""

    def publish(
        self,
        kind: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any],
        buffers: Sequence[Any],
        parent: Mapping[str, Any] | None,
    ) -> None:
        """Send an IOPub message; without a parent, under the message that this kernel handled last."""

    def opened(self, comm_id: str, target: str, relay: Relay) -> bool:
        """Route the browser's messages for `comm_id` to `relay`; return whether the comm existed."""

    def closed(self, comm_id: str) -> None:
        """Handle the end of a comm."""

    def call_soon(self, relay: Relay) -> None:
        """Have ``relay.pump()`` called by this kernel's loop (from any thread)."""

    def note(self, text: str) -> None:
        """Show a note of gpunb itself."""


def page_states(relay: Relay) -> tuple[dict[str, Any], list[list[Any]], list[bytes]]:
    """Return all widgets of a host for a reloaded page: states, buffer paths, buffers."""
    states: dict[str, Any] = {}
    paths: list[list[Any]] = []
    buffers: list[bytes] = []
    for comm_id, model in relay.states().items():
        picked, more = model.picked()
        state = picked["state"]
        states[comm_id] = {
            "model_name": state.get("_model_name"),
            "model_module": state.get("_model_module"),
            "model_module_version": state.get("_model_module_version"),
            "state": state,
        }
        paths += [[comm_id, "state", *path] for path in picked["buffer_paths"]]
        buffers += more
    return states, paths, buffers
