"""The gate that all of a host's output passes, by the host's trust; and replies and widgets behind it."""

from __future__ import annotations

import json

import pytest

from gpunb.agent.shared.comm_state import Models
from gpunb.errors import ProtocolError
from gpunb.output.sanitize import gate as safe
from gpunb.output.sanitize import replies, widgets
from gpunb.output.sanitize.gate import Gate, loads
from gpunb.output.widget_relay import Relay

PLOTLY = {"data": [{"type": "scatter"}], "layout": {}}
BUNDLE = {
    "text/plain": "\x1b]0;title\x07plain \x1b[31mred\x1b[0m",
    "text/html": "<b>x</b><script>alert(1)</script>",
    "text/markdown": "# hi <img src=x onerror=alert(1)>",
    "text/latex": r"\href{javascript:alert(1)}{x}",
    "image/svg+xml": "<svg onload=alert(1)></svg>",
    "image/png": "iVBORw0KGgo=",
    "image/jpeg": "not base64 <script>",
    "application/javascript": "alert(1)",
    "application/json": {"a": [1]},
    "application/vnd.plotly.v1+json": PLOTLY,
    "application/vnd.vega.v5+json": {"$schema": "x"},
    "application/vnd.holoviews_load.v0+json": "",
    "application/x-unknown": "x",
    "application/vnd.jupyter.widget-view+json": {"model_id": "abc-1", "version_major": 99, "x": "<b>"},
}


def test_a_strangers_bundle() -> None:
    gate = Gate("stranger", space="gpunb-s1")
    found = gate.display(
        {
            "data": BUNDLE,
            "metadata": {"image/png": {"width": 10, "onload": "x"}, "text/html": {"isolated": False}, "x": 1},
            "transient": {"display_id": "mine", "more": 1},
        },
        1000,
    )
    assert found is not None
    data = found["data"]
    assert set(data) == {
        "text/plain", "text/html", "image/png", "application/json",
        "application/vnd.jupyter.widget-view+json",
    }  # fmt: skip
    assert data["text/plain"] == "plain \x1b[31mred\x1b[0m"
    assert "script" not in data["text/html"]
    assert "onerror" not in data["text/html"]
    view = {"model_id": "abc-1", "version_major": 2, "version_minor": 0}
    assert data["application/vnd.jupyter.widget-view+json"] == view
    assert found["metadata"] == {"image/png": {"width": 10}}
    assert found["transient"] == {"display_id": "gpunb-s1:mine"}
    (left, cut) = gate.report()
    for word in ("JavaScript", "scripts", "a plotly plot", "a vega plot", "LaTeX", "application/x-unknown"):
        assert word in left
    assert "pictures" in cut


def test_others_pass_as_they_are() -> None:
    content = {"data": BUNDLE, "metadata": {"x": 1}, "transient": {"display_id": "mine"}}
    for trust in ("own", "datacenter"):
        assert Gate(trust).display(content, 10) == content
    assert Gate("own").stream("stdout", "\x1b]0;t\x07") == "\x1b]0;t\x07"
    assert Gate("datacenter").stream("stdout", "\x1b]0;t\x07x") == "x"
    # a level that nobody knows is a stranger's
    assert "application/javascript" not in Gate("OWN").bundle(BUNDLE)


@pytest.mark.parametrize(
    "content",
    [None, [], "x", {"data": "x"}, {"data": [1]}, {"data": {1: 2}}, {"data": {"text/html": {"a": 1}}}],
)
@pytest.mark.parametrize("trust", ["stranger", "datacenter"])
def test_what_is_no_bundle(content: object, trust: str) -> None:
    Gate(trust).display(content, 1)
    Gate(trust).error(content)


def test_counts_and_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MOST_EVENTS", 3000)
    gate = Gate("stranger")
    shown = [gate.display({"data": {"text/plain": "x"}}, 100) for _ in range(1500)]
    assert sum(one is not None for one in shown) == safe.MOST_DISPLAYS
    updates = [gate.display({"data": {"text/plain": "x"}}, 100, update=True) for _ in range(3000)]
    assert sum(one is not None for one in updates) == 1500
    assert "500 more displays and 1,500 more updates" in gate.report()[0]
    big = Gate("datacenter")
    assert big.display({"data": {}}, safe.MOST_DISPLAY_BYTES) is not None
    assert big.display({"data": {}}, 1) is None
    assert len(gate.text("x" * 10**7)) < 2 << 20
    error = gate.error({"ename": "x" * 10**6, "evalue": "y" * 10**6, "traceback": ["z" * 10**5] * 5000})
    assert sum(map(len, error["traceback"])) < 20 << 20
    assert len(error["traceback"]) == safe.MOST_LINES + 1


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b"[" + b"[]," * 400_000 + b"[]]", b"{", b"\xff", b'"' + b"x" * (25 << 20) + b'"']
)
def test_messages_that_are_bombs(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        loads(raw)


def test_replies_are_made_anew() -> None:
    info = replies.clean(
        "kernel_info_request",
        {
            "status": "ok",
            "banner": "\x1b]0;t\x07hi",
            "help_links": [{"text": "x", "url": "javascript:alert(1)"}],
            "language_info": {"name": "evil", "version": "3.11", "nbconvert_exporter": "os.path",
                              "file_extension": "/../x"},
        },
        "stranger",
    )  # fmt: skip
    assert info["help_links"] == []
    assert info["language_info"]["nbconvert_exporter"] == "python"
    assert info["language_info"]["file_extension"] == ".py"
    assert info["banner"] == "hi"
    reply = replies.clean(
        "execute_request",
        {
            "status": "ok",
            "execution_count": 3,
            "payload": [
                {"source": "set_next_input", "text": "import os; os.system('x')", "replace": True},
                {"source": "ask_exit"},
                {"source": "edit_magic", "filename": "/etc/passwd"},
                {"source": "page", "data": {"text/html": "<script>x</script>hi", "text/plain": "hi"}},
                "x",
            ],
            "user_expressions": {"e": {"status": "ok", "data": {"application/javascript": "x"}}, "f": 1},
        },
        "stranger",
    )
    (page,) = reply["payload"]
    assert page["source"] == "page"
    assert "script" not in page["data"]["text/html"]
    assert "application/javascript" not in reply["user_expressions"]["e"]["data"]
    seen = replies.clean(
        "inspect_request",
        {"status": "ok", "found": True, "data": {"text/html": "<img src=x onerror=y>"}},
        "stranger",
    )
    assert "onerror" not in seen["data"]["text/html"]
    for kind in replies._KINDS:
        for odd in (None, [], {"status": "ok"}, {"status": []}, {"matches": 5, "history": {}, "payload": 1}):
            assert isinstance(replies.clean(kind, odd, "stranger"), dict)
    assert replies.clean("shutdown_request", {"status": "ok"}, "stranger") == {}
    own = {"status": "ok", "more": 1}
    assert replies.clean("inspect_request", own, "own") is own


class Front:
    """A port that keeps what the browser would get."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict]] = []
        self.notes: list[str] = []

    def publish(self, kind, content, metadata, buffers, parent):
        self.sent.append((kind, content))

    def opened(self, comm_id, target, relay):
        return False

    def closed(self, comm_id):
        pass

    def call_soon(self, relay):
        pass

    def note(self, text):
        self.notes.append(text)


class Host:
    """As much of a client as a relay asks while it takes messages."""

    def __init__(self, trust: str) -> None:
        self.trust = trust
        self.endpoint = type("Endpoint", (), {"alias": "gpunb-s1"})


def relayed(*messages: tuple[str, dict], trust: str = "stranger") -> Front:
    from gpunb.remote.records import Record

    front = Front()
    relay = Relay(Host(trust), front)  # type: ignore[arg-type]
    for number, (kind, content) in enumerate(messages, 1):
        parts = [memoryview(json.dumps(content).encode()), memoryview(b"{}")]
        relay._record(Record(number, "msg", {"type": kind}, parts))
    return front


def opening(model: str, module: str = "@jupyter-widgets/controls", comm_id: str = "c1", **state):
    about = {"_model_name": model, "_model_module": module, "_model_module_version": "2.0.0"}
    about |= {
        "_view_name": model.replace("Model", "View"),
        "_view_module": module,
        "_view_module_version": "2.0.0",
    }
    content = {"comm_id": comm_id, "target_name": "jupyter.widget", "data": {"state": {**about, **state}}}
    return "comm_open", content


def change(comm_id: str = "c1", **state):
    return "comm_msg", {"comm_id": comm_id, "data": {"method": "update", "state": state, "buffer_paths": []}}


def test_a_strangers_widgets_show_and_run_nothing() -> None:
    evil = "<b>x</b><img src=x onerror=alert(1)>"
    output = [
        {
            "output_type": "display_data",
            "data": {"text/html": evil, "application/javascript": "x"},
            "metadata": {},
        },
        {"output_type": "stream", "name": "stdout", "text": "\x1b]0;t\x07x"},
        {"output_type": "evil"},
        7,
    ]
    front = relayed(
        opening("HTMLModel", value=evil, description_allow_html=True, description=evil),
        change(value=evil + "2", description_allow_html=True),
        opening("OutputModel", module="@jupyter-widgets/output", comm_id="c2", outputs=output),
        opening(
            "HTMLStyleModel",
            comm_id="c3",
            _view_module="@jupyter-widgets/base",
            _view_name="StyleView",
            background="url(https://evil.example)",
        ),
        opening("ImageModel", comm_id="c4", format="url", value="https://evil.example/p.png"),
        opening(
            "BoxModel", comm_id="c5", _dom_classes=["mine", "jp-Dialog", "a b"], x={"__proto__": {"y": 1}}
        ),
    )
    text = json.dumps(front.sent)
    for word in ('onerror=alert(1)>"', "javascript", "url(", "jp-Dialog", "__proto__"):
        assert word not in text, word
    states = [content["data"]["state"] for _, content in front.sent]
    assert "onerror" not in states[0]["value"]
    assert states[0]["description_allow_html"] is False
    assert "onerror" not in states[1]["value"]
    assert [one["output_type"] for one in states[2]["outputs"]] == ["display_data", "stream"]
    assert states[4]["format"] == "png"


@pytest.mark.parametrize(
    "message",
    [
        opening("EvilModel", module="https://evil.example/x.js"),
        opening("EvilModel", module="../../evil"),
        opening("FigureModel", module="bqplot"),
        opening("evil/x", module="@jupyter-widgets/base"),
        opening("HTMLModel", _view_module="evil"),
        opening("HTMLModel", _model_module_version="2.0.0/../../evil"),
        ("comm_open", {"comm_id": "c1", "target_name": "evil.target", "data": {}}),
        ("comm_open", {"comm_id": "c1", "target_name": "jupyter.widget", "data": {}}),
        ("comm_open", {"comm_id": "x" * 300, "target_name": "jupyter.widget", "data": {}}),
        ("comm_open", {"comm_id": "c1", "target_name": "jupyter.widget",
                       "data": {"state": opening("HTMLModel")[1]["data"]["state"],
                                "buffer_paths": [["__proto__", "x"]]}}),
    ],
)  # fmt: skip
def test_others_are_not_opened(message) -> None:
    front = relayed(message)
    assert front.sent == []
    assert all("\n" not in note for note in front.notes)


def test_a_widget_does_not_change_its_code() -> None:
    front = relayed(opening("HTMLModel"), change(_model_module="evil"), change(_view_name="Evil", value="x"))
    assert len(front.sent) == 1


def test_the_states_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widgets, "MOST_BYTES", 100_000)
    monkeypatch.setattr(widgets, "MOST_OPEN", 20)
    many = relayed(*[opening("LabelModel", comm_id=f"c{n}") for n in range(100)])
    assert len(many.sent) == 20
    # a bar that moves ten thousand times is no flood: what was replaced is not counted
    bar = relayed(
        opening("FloatProgressModel", _view_name="ProgressView"),
        *[change(value=float(n), description="x" * 50) for n in range(5000)],
    )
    assert len(bar.sent) == 5001
    large = relayed(*[opening("TextModel", comm_id=f"c{n}", value="x" * 9000) for n in range(50)])
    assert 5 < len(large.sent) < 20
    assert len(large.notes) == 1


def test_on_ones_own_host_all_of_it_passes() -> None:
    front = relayed(opening("FigureModel", module="bqplot", value="<script>"), trust="own")
    assert front.sent[0][1]["data"]["state"]["value"] == "<script>"
    assert isinstance(Models(), Models)
