"""Widgets made on the host, live in a real kernel here; the test plays the browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.machines.browser import Browser

from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.machines.kernel import Notebook

pytestmark = pytest.mark.slow

SLIDER = """%%gpu
import ipywidgets as w
s = w.IntSlider(value=3, description='n')
s.observe(lambda change: print('seen', change['new']), 'value')
print('before')
display(s)
print('after')
"""


@pytest.fixture
def page(rented: Notebook) -> Browser:
    return Browser(rented.client)


def text(messages: list[dict]) -> str:
    return "".join(one["content"]["text"] for one in messages if one["msg_type"] == "stream")


def test_a_slider_is_live_here_also_after_the_cell(page: Browser) -> None:
    shown = page.run(SLIDER)
    order = [one["msg_type"] for one in shown if one["msg_type"] in ("comm_open", "display_data", "stream")]
    assert order.index("comm_open") < order.index("display_data")
    assert text(shown) == "before\nafter\n"
    slider = page.named("IntSliderModel")
    assert text(page.run("%%gpu\nprint(s.model_id)")).strip() == slider
    # from here to there: the callback's output belongs to the page's message
    moved = page.set(slider, value=7)
    assert page.text(moved) == "seen 7\n"
    assert text(page.run("%%gpu\nprint(s.value)")) == "7\n"
    # from there to here
    page.run("%%gpu\ns.value = 9")
    assert page.models[slider]["value"] == 9
    # from a thread, when no cell runs
    page.run("%%gpu\nimport threading\nthreading.Timer(0.5, lambda: setattr(s, 'max', 55)).start()")
    page.until(lambda: page.models[slider]["max"] == 55)
    # closed there
    page.run("%%gpu\ns.close()")
    assert slider in page.closed
    assert len(page.opened) == len(set(page.opened))


def test_the_order_of_text_and_widgets_holds(page: Browser) -> None:
    shown = page.run(
        "%%gpu\nimport ipywidgets as w\nlabel = w.Label('0')\n"
        "for n in range(200):\n    print(n, flush=True)\n    label.value = str(n)\ndisplay(label)"
    )
    assert text(shown).split() == [str(n) for n in range(200)]
    label = page.named("LabelModel")
    values = [
        int(one["content"]["data"]["state"]["value"])
        for one in shown
        if one["msg_type"] == "comm_msg"
        and one["content"]["comm_id"] == label
        and "value" in one["content"]["data"].get("state", {})
    ]
    assert values == sorted(set(values))
    assert page.models[label]["value"] == "199"


def test_tqdm_notebook(page: Browser) -> None:
    shown = page.run(
        "%%gpu\nfrom tqdm.notebook import tqdm\nfor _ in tqdm(range(50), desc='steps'):\n    pass"
    )
    assert text(shown) == ""
    bar = page.named("FloatProgressModel")
    assert page.models[bar]["value"] == 50
    assert page.models[bar]["bar_style"] == "success"


def test_interact_prints_into_its_own_output(page: Browser) -> None:
    code = "%%gpu\nfrom ipywidgets import interact\ninteract(lambda n: print('n is', n), n=(0, 10))\nNone"
    message = page.client.execute(code)
    page.follow(message)
    output, slider = page.named("OutputModel"), page.named("IntSliderModel")
    assert caught(page, output, message) == "n is 5\n"
    moved = page.set(slider, value=8)
    assert caught(page, output, moved) == "n is 8\n"


def caught(page: Browser, output: str, message: str) -> str:
    """What a page puts into an Output widget: the message's text while ``msg_id`` names that message."""
    found, catching = "", ""
    for one in page.of(message):
        content = one["content"]
        if one["msg_type"] == "comm_msg" and content["comm_id"] == output:
            catching = content["data"].get("state", {}).get("msg_id", catching)
        elif one["msg_type"] == "stream" and catching == message:
            found += content["text"]
    return found


def test_buffers_both_ways(page: Browser) -> None:
    page.run(
        "%%gpu\nimport ipywidgets as w, traitlets as t\n"
        "class Canvas(w.DOMWidget):\n"
        "    _model_name = t.Unicode('CanvasModel').tag(sync=True)\n"
        "    pixels = t.CBytes(b'\\x00\\xff' * 4).tag(sync=True)\n"
        "    nested = t.Dict({'a': {'b': b'deep'}}).tag(sync=True)\n"
        "c = Canvas()\n"
        "c.on_msg(lambda _, content, buffers: (print(content, [bytes(b) for b in buffers]),\n"
        "    c.send({'ack': 1}, [b'frame' * 1000])))\n"
        "display(c)"
    )
    canvas = page.named("CanvasModel")
    assert page.buffers[canvas][("pixels",)] == b"\x00\xff" * 4
    assert page.buffers[canvas][("nested", "a", "b")] == b"deep"
    page.run("%%gpu\nc.pixels = bytes(range(256)) * 1000")
    assert page.buffers[canvas][("pixels",)] == bytes(range(256)) * 1000
    sent = page.send(canvas, {"method": "custom", "content": {"hello": 1}}, [b"\x00there\xff"])
    page.until(lambda: page.idle(sent))
    assert page.text(sent).strip() == "{'hello': 1} [b'\\x00there\\xff']"
    (ack,) = [
        one for one in page.of(sent) if one["msg_type"] == "comm_msg" and "content" in one["content"]["data"]
    ]
    assert ack["content"]["data"]["content"] == {"ack": 1}
    assert bytes(ack["buffers"][0]) == b"frame" * 1000
    update = page.send(
        canvas, {"method": "update", "state": {}, "buffer_paths": [["pixels"]]}, [b"from the page"]
    )
    page.until(lambda: page.idle(update))
    assert text(page.run("%%gpu\nprint(c.pixels)")).strip() == "b'from the page'"


def test_a_page_that_is_loaded_again_finds_them(page: Browser) -> None:
    page.run(SLIDER)
    slider = page.named("IntSliderModel")
    page.set(slider, value=7)
    page.run("import ipywidgets\nmine = ipywidgets.Text('here')")
    session = page.client.session
    control = session.msg(
        "comm_open",
        {
            "comm_id": "control1",
            "target_name": "jupyter.widget.control",
            "data": {},
        },
        metadata={"version": "1.0.0"},
    )
    session.send(page.client.shell_channel.socket, control)
    page.models["control1"] = {}
    asked = page.send("control1", {"method": "request_states"})
    page.until(lambda: page.idle(asked))
    (answer,) = [one for one in page.of(asked) if one["msg_type"] == "comm_msg"]
    states = answer["content"]["data"]["states"]
    assert states[slider]["state"]["value"] == 7
    assert states[slider]["model_name"] == "IntSliderModel"
    assert "TextModel" in {one["model_name"] for one in states.values()}


def test_another_notebook_that_attaches_has_them_too(
    page: Browser, new_notebook: Callable[[], Notebook]
) -> None:
    page.run(SLIDER)
    run = json.loads(text(page.run("r = %gpu runs --json\nprint(r.json())")))[0]["id"]
    slider = page.named("IntSliderModel")
    page.set(slider, value=7)
    other = Browser(new_notebook().client)
    other.run(f"%gpu attach {run}")
    other.until(lambda: other.models[slider]["value"] == 7)
    other.set(slider, value=8)
    page.until(lambda: page.models[slider]["value"] == 8)
    assert text(page.run("%%gpu\nprint(s.value)")) == "8\n"


def test_a_kernel_that_ends_leaves_the_last_picture(page: Browser) -> None:
    page.run(SLIDER)
    slider = page.named("IntSliderModel")
    page.set(slider, value=7)
    page.run("%%gpu\nimport os\nos.kill(os.getpid(), 9)")
    page.until(lambda: page.models[slider]["disabled"])
    page.run(SLIDER)
    fresh = page.named("IntSliderModel")
    assert fresh != slider
    assert page.models[fresh]["disabled"] is False
    moved = page.set(fresh, value=4)
    assert page.text(moved) == "seen 4\n"


def test_a_session_that_ends_leaves_the_last_picture(page: Browser) -> None:
    page.run(SLIDER)
    slider = page.named("IntSliderModel")
    page.set(slider, value=7)
    page.run("%gpu down --yes")
    page.until(lambda: page.models[slider]["disabled"])
    assert slider not in page.closed
    assert page.models[slider]["value"] == 7
    page.models[slider]["value"] = 99  # the user drags it all the same
    page.set(slider, value=99)
    assert page.models[slider]["value"] == 7
    asked = page.send(slider, {"method": "request_state"})
    page.until(lambda: page.idle(asked))
    assert page.models[slider]["description"] == "n"


def test_a_strangers_comm_of_another_target_is_refused(page: Browser) -> None:
    with Ledger.open() as ledger:
        (session,) = ledger.sessions()
        ledger.update(session.id, trust="stranger")
    page.run(
        "from gpunb.sessions.access import host_access as reach\nreach.close_all()"
    )  # a line made when it was its own
    shown = page.run(
        "%%gpu\nfrom comm import create_comm\n"
        "for _ in range(3):\n    create_comm(target_name='evil', data={'x': 1})"
    )
    assert not [one for one in shown if one["msg_type"] == "comm_open"]
    assert text(shown).count("'evil'") == 1
