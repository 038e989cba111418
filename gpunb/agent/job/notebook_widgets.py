"""The widgets of a notebook run as a job: their saved state, and the output that they capture."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ..shared.comm_state import Models, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE = "application/vnd.jupyter.widget-state+json"


class Widgets:
    """The state of the notebook's widgets, kept as nbclient keeps it."""

    def __init__(self) -> None:
        self.models = Models()
        self._catching: list[str] = []  # Output widgets, the innermost last

    def take(self, kind: str, parts: Sequence[Any]) -> None:
        """Process a comm message of the kernel."""
        try:
            content, metadata, buffers = parse(parts)
        except ValueError:
            return
        self.models.take(kind, content, metadata, buffers)
        name = str(content.get("comm_id"))
        model = self.models.open.get(name)
        catches = bool(model is not None and _is_output(model.state) and model.state.get("msg_id"))
        if catches and name not in self._catching:
            self._catching.append(name)
        elif not catches and name in self._catching:
            self._catching.remove(name)

    def place(self, message: str) -> list[dict[str, Any]] | None:
        """Return the outputs of the Output widget that captures those of `message`; None if none does."""
        for name in reversed(self._catching):
            state = self.models.open[name].state
            if state.get("msg_id") == message:
                if not isinstance(state.get("outputs"), list):
                    state["outputs"] = []
                found: list[dict[str, Any]] = state["outputs"]
                return found
        return None

    def metadata(self) -> dict[str, Any]:
        """Return the notebook's ``widgets`` metadata; empty without widgets."""
        states = {}
        for name, model in self.models.open.items():
            if "_model_name" not in model.state:
                continue
            states[name] = {
                "model_name": model.state["_model_name"],
                "model_module": model.state.get("_model_module"),
                "model_module_version": model.state.get("_model_module_version"),
                "state": model.state,
            }
            if model.buffers:
                states[name]["buffers"] = [
                    {"encoding": "base64", "path": list(path), "data": base64.b64encode(raw).decode("ascii")}
                    for path, raw in model.buffers.items()
                ]
        return {STATE: {"state": states, "version_major": 2, "version_minor": 0}} if states else {}


def _is_output(state: dict[str, Any]) -> bool:
    return state.get("_model_name") == "OutputModel"
