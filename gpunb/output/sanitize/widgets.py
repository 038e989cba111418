"""Sanitizer for a stranger's widgets: messages are rebuilt from checked values.

A page loads a widget's code by the name of its module, shows some of its values as HTML or as
styles, and follows references and links between widgets. So nothing of a stranger's message is
passed on: `WidgetGate` builds a new one from what ``widgets.json`` allows for that model and view
(from ipywidgets' own traits, see ``.ci/widget_spec.py``), each value in the type of its trait. What
is shown as HTML or as outputs is sanitized like all such output.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NoReturn

from gpunb.output.sanitize import html
from gpunb.output.sanitize.gate import Gate
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpunb.agent.shared.comm_state import Model

__all__ = ["Held", "Refused", "WidgetGate", "refusal"]

MOST_OPEN = 2_000  # comms of a host that is not one's own
MOST_NAMES = 50_000  # ids of comms that were ever opened
MOST_BYTES = 64 << 20  # of all their states
MOST_MESSAGE = 16 << 20  # bytes of one comm message with its buffers
MOST_OUTPUTS = 200  # in one Output widget
MOST_ITEMS = 10_000  # of one list
MOST_TEXT = 1 << 20  # characters of one value
WIDGET = "jupyter.widget"
METHODS = ("update", "echo_update")

Message = tuple[dict[str, Any], dict[str, Any], list[bytes]]

_VERSION = re.compile(r"[\^~]?[0-9.x*]{1,20}(?:-[\w.]{1,20})?\Z")
_COMM = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_REFERENCE = "IPY_MODEL_"
_CLASS = re.compile(r"(?!jp-|lm-|mathjax_)[A-Za-z][\w-]{0,60}\Z")
_ICON = re.compile(r"[\w -]{0,80}\Z")
_MEDIA = re.compile(r"[A-Za-z0-9.+-]{1,40}\Z")
_COLOR = re.compile(r"#[0-9A-Fa-f]{3,8}\Z|[A-Za-z]{1,30}\Z|(?:rgb|hsl)a?\([0-9., %/]{1,60}\)\Z")
# values of styles and layouts: words, lengths and a few functions; no address, and nothing drawn elsewhere
_CSS = re.compile(r"[\w %.,#/*+'\"()\[\]-]{0,400}\Z", re.ASCII)
_CSS_CALL = re.compile(r"([\w-]*)\(")
_CSS_CALLS = frozenset(
    ["", "calc", "clamp", "fit-content", "hsl", "hsla", "max", "min", "minmax", "repeat", "rgb", "rgba"]
)
_NEGATIVE = re.compile(r"(?:^|[\s(,])-[\d.]")
_FORMAT = re.compile(r"[-+( ]?[$#]?0?\d{0,3},?(?:\.\d{1,2})?~?[a-zA-Z%]?\Z")
_TAG = re.compile(r"<[A-Za-z/!?]")
_HTML_MODELS = ("HTMLModel", "HTMLMathModel")
# shown as text, as maths by some widgets, and as HTML by ipywidgets 7
_WORDS = frozenset(["description", "placeholder", "tooltip", "description_tooltip"])
_IDENTITY = ("_model_module", "_model_name", "_view_module", "_view_name")
_VERSIONS = ("_model_module_version", "_view_module_version")
# traits of ipywidgets 7 that 8 has dropped
_OLDER = {"description_tooltip": {"null": "text"}, "_titles": "titles", "border": {"null": "text"}}
_OLDER_LAYOUT = {"overflow_x": {"null": "text"}, "overflow_y": {"null": "text"}, "border": {"null": "text"}}
# links copy values in the page, behind the gate: the allowed traits, and the models with plain text only
_LINKED = frozenset(["value", "index", "min", "max", "step", "disabled", "selected_index"])
_PLAIN_TEXT = frozenset(["TextModel", "TextareaModel", "ComboboxModel"])


class Refused(Exception):
    """A message that is not shown; its text is the reason, "" if the user need not know it."""


class _Bad(Exception):
    """A value that is not of its trait's type."""


@cache
def _spec() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        files("gpunb.output.sanitize").joinpath("widgets.json").read_text("utf-8")
    )
    return result


def _kind(state: Mapping[str, Any]) -> str:
    module, name = state.get("_model_module"), state.get("_model_name")
    return f"{module} {name}" if isinstance(module, str) and isinstance(name, str) else ""


def refusal(state: Mapping[str, Any]) -> str:
    """The reason why a widget with that first state is not shown, "" if it may be."""
    known = _spec().get(_kind(state))
    if known is None:
        module, name = state.get("_model_module"), state.get("_model_name")
        return f"a widget of {one_line(module, 80)!r} called {one_line(name, 80)!r}"
    module, view = state.get("_view_module"), state.get("_view_name")
    if view is not None and [module, view] != known["view"]:
        return f"a {one_line(state['_model_name'], 80)} with the view {one_line(view, 80)!r}"
    for key in _VERSIONS:
        version = state.get(key)
        if version is not None and not (
            isinstance(version, str) and (_VERSION.match(version) or not version)
        ):
            return f"a widget of version {one_line(version, 40)!r}"
    return ""


def _same(kind: str, state: Mapping[str, Any]) -> bool:
    """Whether a change keeps the fields that select the code loaded for the widget."""
    module, _, name = kind.rpartition(" ")
    view = _spec()[kind]["view"]
    fixed = dict(zip(_IDENTITY, (module, name, *view), strict=True))
    return all(state[key] == value for key, value in fixed.items() if key in state)


class WidgetGate:
    """Rebuilds the comm messages of one stranger's kernel from values that may be shown.

    Remembers each comm's kind as long as the local kernel lives: an id never changes its kind of
    widget, and references lead to accepted widgets only.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def knows(self, comm_id: object) -> bool:
        """Whether a widget of that id was accepted."""
        return isinstance(comm_id, str) and comm_id in self._kinds

    def missing(self, content: Mapping[str, Any]) -> bool:
        """Whether a comm_open refers to widgets that were not opened yet."""
        data = content.get("data")
        names = _references(data.get("state") if isinstance(data, dict) else None)
        return any(name not in self._kinds for name in names)

    def opening(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> Message:
        """Rebuild a comm_open.

        Raises
        ------
        Refused
            It is no widget that may be shown.
        """
        comm_id, data = content.get("comm_id"), content.get("data")
        if not isinstance(comm_id, str) or not _COMM.match(comm_id) or not isinstance(data, dict):
            _no()
        target = content.get("target_name")
        if target != WIDGET:
            _no(f"a comm of target {one_line(target, 80)!r}")
        state = data.get("state")
        if not isinstance(state, dict):
            _no("a widget without a state")
        why = refusal(state)
        if why:
            _no(why)
        kind = _kind(state)
        if self._kinds.setdefault(comm_id, kind) != kind:
            _no("a widget under the id of one of another kind")
        if len(self._kinds) > MOST_NAMES:
            del self._kinds[comm_id]
            _no("more widgets than a run should have")
        made, paths, kept = self.values(kind, state, data.get("buffer_paths"), buffers)
        if kind.endswith("LinkModel") and not self._may_link(made):
            _no("a link between values of widgets that a page would copy without a look")
        names = {key: state[key] for key in (*_IDENTITY, *_VERSIONS) if isinstance(state.get(key), str)}
        opened = {"state": {**names, **made}, "buffer_paths": paths}
        about = {"comm_id": comm_id, "target_name": WIDGET, "target_module": None, "data": opened}
        return about, {"version": "2.1.0"}, kept

    def change(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> Message:
        """Rebuild a comm_msg that changes state; all others are refused.

        Raises
        ------
        Refused
            It is something else, or for a comm that is no accepted widget.
        """
        comm_id, data = content.get("comm_id"), content.get("data")
        kind = self._kinds.get(comm_id) if isinstance(comm_id, str) else None
        if kind is None or not isinstance(data, dict) or kind.endswith("LinkModel"):
            _no()
        method, state = data.get("method"), data.get("state")
        if method not in METHODS or not isinstance(state, dict) or not _same(kind, state):
            _no()
        made, paths, kept = self.values(kind, state, data.get("buffer_paths"), buffers)
        if not made and not paths and state:
            _no()
        return (
            {"comm_id": comm_id, "data": {"method": method, "state": made, "buffer_paths": paths}},
            {},
            kept,
        )

    def closing(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> Message:  # noqa: ARG002 - as `change`
        """Rebuild a comm_close."""
        if not self.knows(content.get("comm_id")):
            _no()
        return {"comm_id": content["comm_id"], "data": {}}, {}, []

    # -- values

    def values(
        self, kind: str, state: Mapping[str, Any], paths: Any, buffers: Sequence[Any]
    ) -> tuple[dict[str, Any], list[list[str]], list[bytes]]:
        """Return the traits of `state` that may be shown, the paths of its buffers, and the buffers."""
        model = kind.rpartition(" ")[2]
        older = _OLDER_LAYOUT if model == "LayoutModel" else _OLDER
        traits: Mapping[str, Any] = {**older, **_spec()[kind]["traits"]}
        made: dict[str, Any] = {}
        for key, value in state.items():
            if key == "description_allow_html":
                made[key] = False
            elif key in traits:
                try:
                    made[key] = self._value(model, key, traits[key], value)
                except _Bad:
                    continue
        kept_paths: list[list[str]] = []
        kept: list[bytes] = []
        if len(paths if isinstance(paths, list) else []) != len(buffers):
            _no("a widget with bytes where it has none")
        for path, raw in zip(paths if isinstance(paths, list) else [], buffers):  # noqa: B905 - as in pages
            name = path[0] if isinstance(path, list) and len(path) == 1 else None
            if not isinstance(name, str) or _bare(traits.get(name)) != "bytes" or path in kept_paths:
                _no("a widget with bytes where it has none")
            made.pop(name, None)
            kept_paths.append([name])
            kept.append(bytes(raw))
        return made, kept_paths, kept

    def _value(self, name: str, key: str, kind: Any, value: Any) -> Any:
        if isinstance(kind, dict):
            return self._compound(name, key, kind, value)
        if kind in ("layout", "style", "widget"):
            return self._reference(kind, value)
        if kind == "link":
            return self._link(value)
        return _text(name, key, value) if kind == "text" else _PLAIN[kind](value)

    def _compound(self, name: str, key: str, kind: Mapping[str, Any], value: Any) -> Any:
        if "null" in kind:
            return None if value is None else self._value(name, key, kind["null"], value)
        if "enum" in kind:
            return _choice(kind["enum"], value)
        if "any" in kind:
            found = [made for one in kind["any"] for made in self._tried(name, key, one, value)]
            return found[0] if found else _bad()
        if not isinstance(value, list) or len(value) > MOST_ITEMS:
            raise _Bad
        if "list" in kind:
            return self._list(name, key, kind["list"], value)
        if len(value) != len(kind["tuple"]):
            raise _Bad
        return [self._value(name, key, one, item) for one, item in zip(kind["tuple"], value, strict=True)]

    def _list(self, name: str, key: str, kind: Any, value: list[Any]) -> list[Any]:
        if key == "_dom_classes":
            return [one for one in value if isinstance(one, str) and _CLASS.match(one)][:20]
        if key == "outputs":
            return _outputs(value)
        if kind == "widget":  # if a child is refused, the others stay
            return [made for item in value for made in self._tried(name, key, kind, item)]
        return [self._value(name, key, kind, item) for item in value]

    def _tried(self, name: str, key: str, kind: Any, value: Any) -> list[Any]:
        """Return the checked value in a list; an empty list if it is not of that kind."""
        try:
            return [self._value(name, key, kind, value)]
        except _Bad:
            return []

    def _reference(self, kind: str, value: Any) -> str:
        """Check a reference: it must lead to an accepted widget of the right kind."""
        comm_id = value[len(_REFERENCE) :] if isinstance(value, str) and value.startswith(_REFERENCE) else ""
        model = self._kinds.get(comm_id, "").rpartition(" ")[2]
        is_kind = (
            "layout" if model == "LayoutModel" else "style" if model.endswith("StyleModel") else "widget"
        )
        if not model or is_kind != kind:
            raise _Bad
        return f"{_REFERENCE}{comm_id}"

    def _link(self, value: Any) -> list[str]:
        """Check one end of a link: the page copies its value to the other end without the gate."""
        if not isinstance(value, list) or len(value) != 2 or value[1] not in _LINKED:
            raise _Bad
        reference = self._reference("widget", value[0])
        self._linked(reference, value[1])
        return [reference, str(value[1])]

    def _linked(self, reference: str, trait: str) -> str:
        """The type of the value at one end of a link: "number", "bool" or "text"."""
        kind = self._kinds[reference[len(_REFERENCE) :]]
        found = _bare(_spec()[kind]["traits"].get(trait))
        if found in ("int", "float"):
            return "number"
        if found == "bool" or (found == "text" and kind.rpartition(" ")[2] in _PLAIN_TEXT):
            return str(found)
        raise _Bad

    def _may_link(self, made: Mapping[str, Any]) -> bool:
        ends = [made.get("source"), made.get("target")]
        return None not in ends and self._linked(*ends[0]) == self._linked(*ends[1])  # type: ignore[misc]


def _references(value: Any, depth: int = 0) -> list[str]:
    if isinstance(value, str):
        return [value[len(_REFERENCE) :]] if value.startswith(_REFERENCE) else []
    if depth > 3:
        return []
    if isinstance(value, dict):
        return [name for one in value.values() for name in _references(one, depth + 1)]
    return (
        [n for one in value[:MOST_ITEMS] for n in _references(one, depth + 1)]
        if isinstance(value, list)
        else []
    )


def _bare(kind: Any) -> Any:
    return kind["null"] if isinstance(kind, dict) and "null" in kind else kind


def _bad() -> NoReturn:
    raise _Bad


def _no(why: str = "") -> NoReturn:
    raise Refused(why)


def _choice(values: Sequence[Any], value: Any) -> Any:
    for one in values:
        if value == one and type(value) is type(one):
            return one
        if isinstance(value, str) and isinstance(one, str) and value.lower() == one.lower():
            return one
    raise _Bad


def _bool(value: Any) -> bool:
    return value if type(value) is bool else _bad()


def _int(value: Any) -> int:
    return value if type(value) is int and abs(value) < 1 << 62 else _bad()


def _float(value: Any) -> float:
    return value if type(value) is float and math.isfinite(value) else _int(value)


def _matched(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    return lambda value: value if isinstance(value, str) and pattern.match(value) else _bad()


def _part(value: Any, names: Sequence[str]) -> dict[str, int]:
    if not isinstance(value, dict):
        raise _Bad
    return {name: _int(value.get(name)) for name in names}


def _words(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise _Bad
    return value


def _titles(value: Any) -> dict[str, str]:
    """Check the titles of tabs in ipywidgets 7, by number."""
    if not isinstance(value, dict):
        raise _Bad
    pairs = list(value.items())[:MOST_ITEMS]
    return {key: _words(one) for key, one in pairs if key.isdecimal() and isinstance(one, str)}


_color, _media, _icon = _matched(_COLOR), _matched(_MEDIA), _matched(_ICON)
_DAY = ("year", "month", "date")
_CLOCK = ("hours", "minutes", "seconds", "milliseconds")
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "color": _color,
    "format": _matched(_FORMAT),
    "date": lambda value: _part(value, _DAY),
    "time": lambda value: _part(value, _CLOCK),
    "datetime": lambda value: _part(value, (*_DAY, *_CLOCK)),
    "bytes": lambda value: "" if value == "" else _bad(),  # as a buffer only
    "dict": lambda value: _bad(),  # noqa: ARG005 - of an upload's files: only the page has those
    "titles": _titles,
    "plain": lambda value: _words(value) if isinstance(value, str) else _float(value),
}


def _text(name: str, key: str, value: Any) -> str:  # noqa: PLR0911 - one for each way to the page
    """Sanitize a text according to its use on the page."""
    text = _words(value)
    if name.endswith(("StyleModel", "LayoutModel")):
        return _css(text)
    if key == "value" and name in _HTML_MODELS:
        return html.clean_html(html.plain_tex(text)) or ""
    if key == "value" and name == "ColorPickerModel":
        return _color(text)
    if key == "format":  # of a picture or a film: "url" would be an address to load
        return "png" if text.lower() == "url" else _media(text)
    if key in ("width", "height"):
        return _css(text)
    if key in ("icon", "icons", "button_style"):
        return _icon(text)
    if key in _WORDS or name == "LabelModel":
        shown = html.plain_tex(text[:10_000])
        with_tags = key in _WORDS and _TAG.search(shown)
        text = html.plain_tex(html.clean_fragment(shown) or "") if with_tags else shown
    return text


def _css(value: str) -> str:
    calls = (found.lower() for found in _CSS_CALL.findall(value))
    if not _CSS.match(value) or _NEGATIVE.search(value) or not _CSS_CALLS.issuperset(calls):
        raise _Bad
    return value


def _outputs(value: Any) -> list[dict[str, Any]]:
    """Sanitize the outputs of an Output widget, each like a cell's."""
    gate = Gate("stranger")
    result: list[dict[str, Any]] = []
    for one in (value if isinstance(value, list) else [])[:MOST_OUTPUTS]:
        kind = one.get("output_type") if isinstance(one, dict) else None
        if kind == "stream":
            name = "stderr" if one.get("name") == "stderr" else "stdout"
            result.append({"output_type": kind, "name": name, "text": gate.text(one.get("text", ""))})
        elif kind == "error":
            result.append({"output_type": kind, **gate.error(one)})
        elif kind in ("display_data", "execute_result"):
            made = {"output_type": kind, "data": gate.bundle(one.get("data")), "metadata": {}}
            result.append({**made, "execution_count": None} if kind == "execute_result" else made)
    return result


class Held:
    """The memory held by the open widgets' states, with a limit."""

    def __init__(self) -> None:
        self._bytes = 0

    def takes(self, size: int, models: Mapping[str, Model]) -> bool:
        """Whether `size` more bytes fit; replaced states are no longer counted then."""
        if size > MOST_MESSAGE:
            return False
        if self._bytes + size > MOST_BYTES:
            self._bytes = sum(_size(model) for model in models.values())
        if self._bytes + size > MOST_BYTES:
            return False
        self._bytes += size
        return True


def _size(model: Model) -> int:
    buffers = sum(len(buffer) for buffer in (*model.buffers.values(), *model.raw))
    return buffers + len(json.dumps([model.state, model.data, model.metadata]))
