"""Widgets of hosts that are not the user's own: which may be shown, and what of their state.

A page loads the code of a widget by the name of its module, from what is
installed or from a public registry: a stranger could name any. So only the
modules of ipywidgets itself are let through. Their state is text that is
mostly shown as text; what they show as HTML or as outputs goes the way of all
such output.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gpunb.remote import safehtml
from gpunb.remote.safe import Gate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.agent.models import Model

__all__ = ["MODULES", "Held", "clean_state", "fixed", "paths_are_plain", "refusal"]

MODULES = frozenset(["@jupyter-widgets/base", "@jupyter-widgets/controls", "@jupyter-widgets/output"])
MOST_OPEN = 2_000  # comms of a host that is not one's own
MOST_BYTES = 64 << 20  # of all their states
MOST_MESSAGE = 16 << 20  # bytes of one comm message with its buffers
MOST_OUTPUTS = 200  # in one Output widget

_NAME = re.compile(r"[A-Za-z]{1,60}(?:Model|View)\Z")
_VERSION = re.compile(r"[\^~]?[0-9.x*]{1,20}(?:-[\w.]{1,20})?\Z")
_CLASS = re.compile(r"(?!jp-|lm-|mathjax_)[A-Za-z][\w-]{0,60}\Z")
_HTML_MODELS = ("HTMLModel", "HTMLMathModel")
_ADDRESS = re.compile(r"url\s*\(|image-set|\\|expression", re.IGNORECASE)
_TAG = re.compile(r"<[A-Za-z/!?]")
_SHARED = frozenset(["__proto__", "constructor", "prototype"])
_WORDS = ("description", "placeholder", "tooltip", "description_tooltip", "button_style", "icon")


def refusal(state: Mapping[str, Any]) -> str:
    """Why a widget with that first state is not shown, "" if it may be."""
    for key in ("_model_module", "_view_module"):
        module = state.get(key)
        if module is None and key == "_view_module":
            continue  # a style or a layout: seen nowhere
        if module not in MODULES:
            return f"a widget of {str(module)[:80]!r}"
    for key in ("_model_name", "_view_name"):
        name = state.get(key)
        if name is None and key == "_view_name":
            continue
        if not isinstance(name, str) or not _NAME.match(name):
            return f"a widget called {str(name)[:80]!r}"
    for key in ("_model_module_version", "_view_module_version"):
        version = state.get(key, "2.0.0")
        if not isinstance(version, str) or (version and not _VERSION.match(version)):
            return f"a widget of version {str(version)[:40]!r}"
    return ""


def clean_state(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """A stranger's `state` (all of it, or what changed) of a model called `name`."""
    found = {}
    for key, value in state.items():
        if key in _SHARED:
            continue
        if key.startswith("_") and key.endswith(("_module", "_name", "_version")):
            if value is None or (isinstance(value, str) and len(value) < 100):
                found[key] = value  # checked when it was opened, see `fixed`
            continue
        found[key] = _clean(name, key, value)
    return found


def fixed(old: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether a change leaves alone what code the page loads for the widget."""
    return all(
        old.get(key) == value
        for key, value in state.items()
        if key.startswith("_") and key.endswith(("_module", "_name", "_version"))
    )


def paths_are_plain(paths: Any) -> bool:
    """Whether a message's buffers go into the state, and not into what all objects of a page share."""
    return paths is None or (
        isinstance(paths, list)
        and all(
            isinstance(path, list)
            and 0 < len(path) <= 20
            and all(type(part) is int or (isinstance(part, str) and part not in _SHARED) for part in path)
            for path in paths
        )
    )


def _without_shared(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict):
        if depth > 50:
            return {}
        return {key: _without_shared(one, depth + 1) for key, one in value.items() if key not in _SHARED}
    if isinstance(value, list):
        return [_without_shared(one, depth + 1) for one in value] if depth <= 50 else []
    return value


def _clean(name: str, key: str, value: Any) -> Any:
    if isinstance(value, (dict, list)):
        value = _without_shared(value)
    if key == "description_allow_html":
        value = False
    elif key == "outputs" and name == "OutputModel":
        value = _outputs(value)
    elif key == "_dom_classes":
        value = [one for one in (value if isinstance(value, list) else []) if _CLASS.match(str(one))][:20]
    elif isinstance(value, str):
        value = _clean_text(name, key, value)
    return value


def _clean_text(name: str, key: str, value: str) -> str:
    if key == "format":
        value = "png" if value.lower() == "url" else value[:40]
    elif name.endswith(("StyleModel", "LayoutModel")):
        value = "" if _ADDRESS.search(value) else value[:2000]
    elif key == "value" and name in _HTML_MODELS:
        value = safehtml.clean_html(safehtml.plain_tex(value)) or ""
    elif key == "value" and name == "LabelModel":
        value = safehtml.plain_tex(value)
    elif key in _WORDS:
        value = safehtml.plain_tex(value[:10_000])
        if _TAG.search(value):  # ipywidgets 7 shows some of these as HTML
            value = safehtml.clean_fragment(value) or ""
    return value


def _outputs(value: Any) -> list[dict[str, Any]]:
    """What an Output widget shows, each output as a cell's would be."""
    gate = Gate("stranger")
    found: list[dict[str, Any]] = []
    for one in (value if isinstance(value, list) else [])[:MOST_OUTPUTS]:
        kind = one.get("output_type") if isinstance(one, dict) else None
        if kind == "stream":
            name = "stderr" if one.get("name") == "stderr" else "stdout"
            found.append({"output_type": kind, "name": name, "text": gate.text(one.get("text", ""))})
        elif kind == "error":
            found.append({"output_type": kind, **gate.error(one)})
        elif kind in ("display_data", "execute_result"):
            made = {"output_type": kind, "data": gate.bundle(one.get("data")), "metadata": {}}
            found.append({**made, "execution_count": None} if kind == "execute_result" else made)
    return found


class Held:
    """Counts what the open widgets' states hold, so that it stays within bounds."""

    def __init__(self) -> None:
        self._bytes = 0

    def takes(self, size: int, models: Mapping[str, Model]) -> bool:
        """Whether `size` more bytes have room; states that were replaced are counted anew then."""
        if size > MOST_MESSAGE:
            return False
        if self._bytes + size > MOST_BYTES:
            self._bytes = sum(_size(model) for model in models.values())
        if self._bytes + size > MOST_BYTES:
            return False
        self._bytes += size
        return True


def _size(model: Model) -> int:
    buffers = sum(len(one) for one in (*model.buffers.values(), *model.raw))
    return buffers + len(json.dumps([model.state, model.data, model.metadata]))
