"""A stranger's widgets: what reaches the page is made of values of their traits' types, at every way in."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import pytest

from gpunb.agent.shared.comm_state import Model
from gpunb.output.sanitize import widgets as safewidgets
from gpunb.output.sanitize.widgets import Refused, WidgetGate
from gpunb.output.widget_port import CONTROL, page_states
from gpunb.output.widget_relay import Relay
from gpunb.remote.records import Record
from tests.output.test_safe_gate import Front, Host, change, opening

ROOT = Path(__file__).parents[2]
SPEC = json.loads((ROOT / "gpunb/output/sanitize/widgets.json").read_text())
EVIL = '<img src=x onerror="alert(1)">'
HOSTILE: list[Any] = [
    EVIL,
    [EVIL],
    [[EVIL]],
    {"toString": EVIL, "0": EVIL, "length": 1},
    {"__proto__": {"x": EVIL}},
    "url(https://evil.example/x)",
    "red;background:url(https://evil.example/x)",
    "javascript:alert(1)",
    "IPY_MODEL_theirs",
    "IPY_MODEL_h",
    ["IPY_MODEL_theirs", "value"],
    "url",
    "x" * (2 << 20),
    "-1000px",
    r"\DeclareMathOperator{\alpha}{x}",
    math.nan,
    math.inf,
    10**400,
    True,
    1.5,
    None,
    [],
    {},
]


def test_the_table_is_that_of_the_installed_ipywidgets() -> None:
    script = runpy.run_path(str(ROOT / ".ci/widget_spec.py"))
    assert script["text"]() == (ROOT / "gpunb/output/sanitize/widgets.json").read_text(), (
        "ipywidgets changed: .venv/bin/python .ci/widget_spec.py, and read what is new"
    )


def test_ipywidgets_own_widgets_pass_whole() -> None:
    """What each widget sends when it is made is what the page gets."""
    import ipywidgets  # noqa: F401 - registers all
    from ipywidgets.widgets import widget as module

    gate = WidgetGate()
    lost = {}
    for klass in [one for _, one in module._registry.items()]:
        if klass.__module__.startswith("ipywidgets.") and "Link" not in klass.__name__:
            klass(**({"options": ["a", "b"]} if klass.__name__.startswith("Selection") else {}))
    from ipywidgets.widgets.widget import _instances, _remove_buffers

    for ident, made in list(_instances.items()):
        state, paths, buffers = _remove_buffers(made.get_state())
        content = {
            "comm_id": ident,
            "target_name": "jupyter.widget",
            "data": {"state": json.loads(json.dumps(state, default=str)), "buffer_paths": paths},
        }
        try:
            shown, _, kept = gate.opening(content, [bytes(one) for one in buffers])
        except Refused as err:
            lost[type(made).__name__] = str(err)
            continue
        got = shown["data"]["state"]
        missing = {key for key, value in content["data"]["state"].items() if got.get(key) != value}
        missing -= {"value"} if type(made).__name__.startswith("HTML") else set()  # stands in a box
        if missing or len(kept) != len(buffers):
            lost[type(made).__name__] = sorted(missing)
    assert lost == {}


def state_of(name: str, **state: Any) -> dict[str, Any]:
    module, model = name.split()
    view_module, view = SPEC[name]["view"]
    about = {"_model_module": module, "_model_name": model, "_view_module": view_module, "_view_name": view}
    return {**about, **state}


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *strings(one))]
    return [text for one in value for text in strings(one)] if isinstance(value, list) else []


def is_of(kind: Any, value: Any) -> bool:
    """Whether a value is of the type that the table says; texts of any kind are texts."""
    if isinstance(kind, dict):
        if "null" in kind:
            return value is None or is_of(kind["null"], value)
        if "enum" in kind:
            return any(value == one and type(value) is type(one) for one in kind["enum"])
        if "any" in kind:
            return any(is_of(one, value) for one in kind["any"])
        inner = kind.get("list")
        parts = [inner] * len(value) if "list" in kind and isinstance(value, list) else kind.get("tuple", [])
        return isinstance(value, list) and len(value) == len(parts) and all(map(is_of, parts, value))
    if kind == "int":
        return type(value) is int
    if kind == "float":
        return type(value) in (int, float) and math.isfinite(value)
    if kind == "bool":
        return type(value) is bool
    if kind in ("date", "time", "datetime", "dict", "link"):
        return isinstance(value, (dict, list))
    return isinstance(value, str)


@pytest.mark.parametrize("name", SPEC)
def test_each_trait_takes_its_type_and_no_other(name: str) -> None:
    gate = WidgetGate()
    gate.opening({"comm_id": "h", "target_name": "jupyter.widget",
                  "data": {"state": state_of("@jupyter-widgets/controls HTMLModel")}}, [])  # fmt: skip
    for trait, kind in SPEC[name]["traits"].items():
        for value in HOSTILE:
            made = gate.values(name, {trait: value}, None, ())[0]
            if trait not in made:
                continue
            assert is_of(kind, made[trait]), (trait, value)
            json.dumps(made, allow_nan=False)
            if "text" not in json.dumps(kind) and kind != "plain" and kind != {"list": "plain"}:
                assert "IPY_MODEL_theirs" not in strings(made)
            shown = " ".join(strings(made[trait]))
            if "HTML" in name or trait in ("description", "tooltip", "placeholder"):
                assert "onerror" not in shown
            if name.endswith(("StyleModel", "LayoutModel")) or trait in ("width", "height"):
                assert "url(" not in shown.lower()
                assert not shown.startswith("-")
            if trait == "format":
                assert made[trait] != "url"
            if trait == "description_allow_html":
                assert made[trait] is False
    view = "HTMLView" if "HTMLModel" not in name else "TextView"
    other = {"state": state_of(name, _view_name=view)}
    with pytest.raises(Refused):
        gate.opening({"comm_id": "x1", "target_name": "jupyter.widget", "data": other}, [])


class Sent(Host):
    """A host that hears what is sent to it."""

    def __init__(self, trust: str) -> None:
        super().__init__(trust)
        self.connected = True
        self.heard: list[Any] = []

    def begin(self, op: str, parts: Any, **args: Any) -> Any:
        self.heard.append((op, parts, args))
        return type("Call", (), {"done": type("E", (), {"wait": lambda self, s: True})(), "error": None})()


def relay_with(*messages: Any, trust: str = "stranger", snap: bool = False) -> tuple[Relay, Front]:
    front = Front()
    relay = Relay(Sent(trust), front)  # type: ignore[arg-type]
    for number, (kind, content, *more) in enumerate(messages, 1):
        parts = [json.dumps(content).encode(), b'{"version":"2.1.0"}', *(more[0] if more else [])]
        head = {"type": kind, "snap": snap}
        relay._record(Record(number, "msg", head, [memoryview(part) for part in parts]))
    relay._settle(last=True)
    return relay, front


@pytest.mark.parametrize(
    "message",
    [
        ("comm_msg", {"comm_id": "c1", "data": {"method": "update", "state": []}}),
        ("comm_msg", {"comm_id": "c1", "data": {"method": "update", "state": [],
                      "buffer_paths": [["__proto__", "x"]]}}, [b"AAAA"]),
        ("comm_msg", {"comm_id": "c1", "data": {"method": "update", "state": {},
                      "buffer_paths": [["__proto__", "map"]]}}, [b"AAAA"]),
        ("comm_msg", {"comm_id": "c1", "data": {"method": "update", "state": {},
                      "buffer_paths": [["value"]]}}, [b"<img src=x onerror=alert(1)>"]),
        ("comm_msg", {"comm_id": "c1", "data": {"method": "update_states", "states": {"x": {"state": {}}}}}),
        ("comm_msg", {"comm_id": "c1", "data": {"method": "custom", "content": {"do": "focus"}}}),
        ("comm_msg", {"comm_id": "c1", "data": {"method": "update", "state": {"value": [EVIL]}}}),
        ("comm_msg", {"comm_id": "c1", "data": [EVIL]}),
        ("comm_msg", {"comm_id": "c1", "data": EVIL}),
        ("comm_open", {"comm_id": "k", "target_name": CONTROL, "data": {"method": "request_states"}}),
        opening("ImageModel", comm_id="c1", value=EVIL),  # the id of a widget of another kind
        opening("LabelModel", comm_id="c2", _view_name="HTMLView", value=EVIL),
        opening("TextModel", comm_id="c2", _view_name="HTMLView", value=EVIL),
        opening("TextModel", comm_id="c2", _view_module="@jupyter-widgets/base"),
    ],
)  # fmt: skip
def test_what_is_no_change_of_state_does_not_pass(message: Any) -> None:
    _, front = relay_with(opening("HTMLModel", value="x"), message)
    assert [kind for kind, _ in front.sent] == ["comm_open"]


def test_messages_are_made_anew() -> None:
    kind, content = opening("HTMLModel", value="x")
    content |= {"target_module": "evil", "more": EVIL}
    content["data"] |= {"esm": EVIL, "method": "x"}
    update = {
        "comm_id": "c1",
        "more": EVIL,
        "data": {"method": "echo_update", "state": {"value": "y", "zz": EVIL}, "more": EVIL},
    }
    closed = {"comm_id": "c1", "data": {"more": EVIL}, "more": EVIL}
    _, front = relay_with((kind, content), ("comm_msg", update), ("comm_close", closed))
    assert EVIL not in json.dumps(front.sent)
    assert "zz" not in json.dumps(front.sent)
    assert [sorted(one["data"]) for _, one in front.sent] == [
        ["buffer_paths", "state"], ["buffer_paths", "method", "state"], []
    ]  # fmt: skip


def test_a_page_that_is_loaded_again_is_answered_here() -> None:
    relay, front = relay_with(opening("HTMLModel", value="mine"), opening("EvilModel", comm_id="c2"))
    front.sent.clear()
    host: Any = relay.client
    header = {"header": {"msg_id": "m"}}
    relay.send("comm_open", {**header, "content": {"comm_id": "k", "target_name": CONTROL, "data": {}}})
    relay.send("comm_msg", {**header, "content": {"comm_id": "k", "data": {"method": "request_states"}}})
    relay.send("comm_close", {**header, "content": {"comm_id": "k", "data": {}}})
    assert host.heard == []  # the host is not asked
    ((kind, content),) = front.sent
    assert kind == "comm_msg"
    assert list(content["data"]["states"]) == ["c1"]
    assert content["data"]["states"]["c1"]["model_name"] == "HTMLModel"
    states, paths, buffers = page_states(relay)
    assert (list(states), paths, buffers) == (["c1"], [], [])
    # and what the host says on that comm reaches nobody
    relay.models.open["k"] = Model({"target_name": CONTROL, "data": {}}, {}, [])
    said = {"comm_id": "k", "data": {"method": "update_states", "states": {"x": {"state": {"value": EVIL}}}}}
    relay._record(
        Record(9, "msg", {"type": "comm_msg"}, [memoryview(json.dumps(said).encode()), memoryview(b"{}")])
    )
    assert len(front.sent) == 1


def test_references_lead_to_widgets_that_were_let_in() -> None:
    layout = opening("LayoutModel", module="@jupyter-widgets/base", comm_id="lay")
    box = opening("BoxModel", comm_id="box", children=["IPY_MODEL_a", "IPY_MODEL_own", "IPY_MODEL_lay", EVIL],
                  layout="IPY_MODEL_a", style="IPY_MODEL_lay")  # fmt: skip
    _, front = relay_with(layout, opening("TextModel", comm_id="a"), box)
    state = front.sent[-1][1]["data"]["state"]
    assert state["children"] == ["IPY_MODEL_a"]
    assert "layout" not in state
    # in a snapshot one that was opened early may hold one that was opened later
    _, front = relay_with(
        opening("BoxModel", comm_id="box", children=["IPY_MODEL_a", "IPY_MODEL_gone"]),
        opening("TextModel", comm_id="a"), layout, snap=True,
    )  # fmt: skip
    assert [one["comm_id"] for _, one in front.sent] == ["a", "lay", "box"]
    assert front.sent[-1][1]["data"]["state"]["children"] == ["IPY_MODEL_a"]


@pytest.mark.parametrize(
    ("source", "target", "passes"),
    [
        (["IPY_MODEL_text", "value"], ["IPY_MODEL_html", "value"], False),
        (["IPY_MODEL_text", "value"], ["IPY_MODEL_label", "value"], False),
        (["IPY_MODEL_text", "value"], ["IPY_MODEL_int", "value"], False),
        (["IPY_MODEL_text", "value"], ["IPY_MODEL_text", "description"], False),
        (["IPY_MODEL_text", "disabled"], ["IPY_MODEL_html", "description_allow_html"], False),
        (["IPY_MODEL_int", "value"], ["IPY_MODEL_own", "value"], False),
        (["IPY_MODEL_int", "value"], ["IPY_MODEL_html", "layout"], False),
        (["IPY_MODEL_int", "value"], None, False),
        (["IPY_MODEL_int", "value"], ["IPY_MODEL_int", "max"], True),
        (["IPY_MODEL_text", "value"], ["IPY_MODEL_area", "value"], True),
    ],
)
@pytest.mark.parametrize("model", ["LinkModel", "DirectionalLinkModel"])
def test_a_link_copies_only_what_needs_no_look(source: Any, target: Any, passes: bool, model: str) -> None:
    widgets = [
        opening("TextModel", comm_id="text"), opening("TextareaModel", comm_id="area"),
        opening("HTMLModel", comm_id="html"), opening("LabelModel", comm_id="label"),
        opening("IntSliderModel", comm_id="int"),
    ]  # fmt: skip
    link = opening(model, comm_id="link", _view_name=None, source=source, target=target)
    _, front = relay_with(*widgets, link, change("link", target=["IPY_MODEL_html", "value"]))
    assert [one["comm_id"] for _, one in front.sent][5:] == (["link"] if passes else [])


def test_an_output_widget_catches_no_output_of_others() -> None:
    output = opening("OutputModel", module="@jupyter-widgets/output", msg_id="somebody-elses")
    _, front = relay_with(output)
    assert front.sent[0][1]["data"]["state"]["msg_id"] == ""


@pytest.mark.parametrize("trust", ["stranger", "", "Own", "friend"])
def test_an_unknown_word_of_trust_is_a_strangers(trust: str) -> None:
    _, front = relay_with(
        opening("HTMLModel", value=EVIL), opening("FigureModel", "bqplot", comm_id="b"), trust=trust
    )
    assert len(front.sent) == 1
    assert "onerror" not in json.dumps(front.sent)


def test_ids_and_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safewidgets, "MOST_NAMES", 5)
    opened_and_closed = []
    for number in range(20):
        opened_and_closed += [
            opening("TextModel", comm_id=f"c{number}"),
            ("comm_close", {"comm_id": f"c{number}"}),
        ]
    _, front = relay_with(*opened_and_closed)
    assert len([1 for kind, _ in front.sent if kind == "comm_open"]) == 5
