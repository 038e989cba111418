"""What a hostile kernel sends to be displayed; ``URL`` is a page whose visit is the proof that it worked."""

# ruff: noqa: E501 - a payload is read best on its line

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

JS = "fetch('URL')"


def _data(**kinds: Any) -> list[tuple[str, Any]]:
    data = {kind.replace("__", "/").replace("_", "."): value for kind, value in kinds.items()}
    return [("display_data", {"data": {"text/plain": "plain", **data}, "metadata": {}, "transient": {}})]


def _mime(kind: str, value: Any, **more: Any) -> list[tuple[str, Any]]:
    content = {"data": {"text/plain": "plain", kind: value}, "metadata": {}, "transient": {}, **more}
    return [("display_data", content)]


def _html(text: str) -> list[tuple[str, Any]]:
    return _mime("text/html", text)


PAYLOADS: dict[str, list[tuple[str, Any]]] = {
    "a script in HTML": _html(f"<script>{JS}</script>"),
    "event handlers in HTML": _html(
        f'<img src=x onerror="{JS}"><body onload="{JS}"><details open ontoggle="{JS}">x</details>'
        f'<input autofocus onfocus="{JS}"><video><source onerror="{JS}"></video><div onmouseover="{JS}">x</div>'
    ),
    "javascript: links and forms": _html(
        f'<a href="javascript:{JS}">click</a><a href="java&#09;script:{JS}">click</a>'
        f'<form action="javascript:{JS}"><button>go</button></form><button formaction="javascript:{JS}">b</button>'
        f'<a href="data:text/html,<script>{JS}</script>">click</a>'
    ),
    "frames, objects and embedded pages": _html(
        f'<iframe src="javascript:{JS}"></iframe><iframe srcdoc="<script>{JS}</script>"></iframe>'
        "<iframe src='URL'></iframe><object data='URL'></object><embed src='URL'><portal src='URL'></portal>"
    ),
    "pictures and media from elsewhere": _html(
        "<img src='URL'><img srcset='URL 2x'><video poster='URL' src='URL'></video><audio src='URL' autoplay></audio>"
        "<picture><source srcset='URL'><img></picture><input type=image src='URL'><table background='URL'><tr><td>x</table>"
    ),
    "style sheets that fetch": _html(
        "<style>@import 'URL'; .jp-Notebook{background:url(URL)}</style><link rel=stylesheet href='URL'>"
        "<div style=\"background:url(URL)\">x</div><div style=\"background-image:image-set('URL' 1x)\">y</div>"
    ),
    "a new page by meta, base and link": _html(
        "<meta http-equiv=refresh content='0;url=URL'><base href='URL'><link rel=prefetch href='URL'>"
        "<link rel=preload as=image href='URL'><link rel=dns-prefetch href='URL'>"
    ),
    "SVG in HTML": _html(
        f"<svg onload=\"{JS}\"><script>{JS}</script><image href='URL'/><use href='URL#x'/>"
        f'<animate onbegin="{JS}"/><foreignObject><img src=x onerror="{JS}"></foreignObject></svg>'
    ),
    "MathML and templates that mutate": _html(
        f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror={JS}&gt;">'
        f'</table></math><template><script>{JS}</script></template><noscript><p title="</noscript>'
        f'<img src=x onerror={JS}>">'
    ),
    "an SVG picture with a script": _mime(
        "image/svg+xml",
        f"<svg xmlns='http://www.w3.org/2000/svg' onload=\"{JS}\"><script>{JS}</script><image href='URL'/></svg>",
    ),
    "JavaScript as a display": _mime("application/javascript", JS) + _mime("text/javascript", JS),
    "Markdown with HTML, scripts and pictures": _mime(
        "text/markdown",
        f'<script>{JS}</script><img src=x onerror="{JS}"> ![x](URL) [click](javascript:{JS})\n\n'
        f'```mermaid\ngraph TD; A-->B; click A "javascript:{JS}"\n```\n',
    ),
    "LaTeX with links and HTML": _mime(
        "text/latex",
        f'$\\href{{javascript:{JS}}}{{x}}$ $\\require{{html}}\\style{{background:url(URL)}}{{x}}$ $<img src=x onerror="{JS}">$'
        " $\\unicode[URL]{x}\\includegraphics{URL}$",
    ),
    "a Vega plot with a program and data elsewhere": _mime(
        "application/vnd.vega.v5+json",
        {"$schema": "https://vega.github.io/schema/vega/v5.json", "data": [{"name": "a", "url": "URL"}],
         "signals": [{"name": "s", "init": f"window.{JS}"}], "marks": []},
    ) + _mime(
        "application/vnd.vegalite.v5+json",
        {"data": {"url": "URL"}, "mark": "bar", "encoding": {}, "usermeta": {"embedOptions": {"loader": {"baseURL": "URL"}}}},
    ),
    "a Plotly plot with pictures and links elsewhere": _mime(
        "application/vnd.plotly.v1+json",
        {"data": [{"x": [1], "y": [1], "text": f"<a href='javascript:{JS}'>x</a>"}],
         "layout": {"images": [{"source": "URL"}], "title": f"<img src=x onerror={JS}>"}, "config": {"plotlyServerURL": "URL"}},
    ),
    "a widget of a package from elsewhere": [
        ("comm_open", {
            "comm_id": "evil", "target_name": "jupyter.widget",
            "data": {"state": {
                "_model_module": "URL", "_model_name": "M", "_model_module_version": "1", "_view_module": "URL",
                "_view_name": "V", "_view_module_version": "1", "_esm": f"{JS}; export default {{}}", "_css": "@import 'URL'",
            }, "buffer_paths": []},
        }),
        *_mime("application/vnd.jupyter.widget-view+json", {"model_id": "evil", "version_major": 2, "version_minor": 0}),
    ],
    "comms with targets of the front end's": [
        ("comm_open", {"comm_id": f"c{n}", "target_name": target, "data": {"method": "eval", "code": JS}})
        for n, target in enumerate(["jupyter.widget.control", "ipylab", "debugger", "__proto__", "matplotlib"])
    ],
    "kinds that front ends draw with programs": [
        one
        for kind in (
            "application/vnd.bokehjs_exec.v0+json", "application/vnd.holoviews_exec.v0+json", "application/geo+json",
            "application/vnd.jupyter.es6-rich-output", "application/vnd.dash+json", "text/vnd.mermaid",
            "application/vnd.livy.table+json", "application/vnd.code.notebook.error", "application/x-ipynb+json",
        )
        for one in _mime(kind, {"url": "URL", "data": JS, "cells": []} if "json" in kind else JS)
    ],
    "JSON with HTML in its names": _mime("application/json", {f"<img src=x onerror={JS}>": [f"<script>{JS}</script>"] * 3}),
    "another cell's display changed": [
        ("display_data", {"data": {"text/plain": "first"}, "metadata": {}, "transient": {"display_id": "theirs"}}),
        ("update_display_data", {"data": {"text/html": f"<script>{JS}</script>"}, "metadata": {}, "transient": {"display_id": "theirs"}}),
    ],
    "a result and a page with scripts": [
        ("execute_result", {"data": {"text/html": f"<script>{JS}</script>"}, "metadata": {}, "execution_count": 1}),
        ("page", {"data": {"text/html": f"<script>{JS}</script>", "text/plain": "x"}, "start": 0}),
    ],
    "printed HTML, links and terminal orders": [
        ("stream", f"<script>{JS}</script>\x1b]8;;javascript:{JS}\x07click\x1b]8;;\x07 \x1b[31m<img src=x onerror={JS}>\x1b[0m\n"),
        ("stream", "\x1b]1337;File=inline=1:AAAA\x07\x1bP+q544e\x1b\\\n"),
    ],
    "metadata that asks for trust": [
        ("display_data", {
            "data": {"text/html": f"<script>{JS}</script>"}, "transient": {},
            "metadata": {"isolated": False, "trusted": True, "text/html": {"isolated": True}, "application/javascript": {"trusted": True}},
        }),
    ],
}  # fmt: skip


WRITES = (
    "let x=document.cookie.match(/_xsrf=([^;]*)/),c=JSON.parse(document.getElementById('jupyter-config-data').textContent);"
    "fetch('/api/contents/pwned.txt',{method:'PUT',headers:{'Content-Type':'application/json','X-XSRFToken':x?x[1]:'',"
    "'Authorization':'token '+c.token},body:JSON.stringify({type:'file',format:'text',content:'x'})}).then(()=>fetch('URL'))"
)
_IMAGE = f'<img src=x onerror="{JS}">'
CONTROLS, BASE = "@jupyter-widgets/controls", "@jupyter-widgets/base"


def opened(
    comm_id: str, model: str, view: str | None, module: str = CONTROLS, view_module: str = "", **state: Any
) -> Any:
    about = {"_model_module": module, "_model_module_version": "2.0.0", "_model_name": model}
    about |= {"_view_module": view_module or module, "_view_module_version": "2.0.0", "_view_name": view}
    data = {"state": {**about, **state}, "buffer_paths": []}
    return "comm_open", {"comm_id": comm_id, "target_name": "jupyter.widget", "data": data}


def said(comm_id: str, buffers: tuple[str, ...] = (), **data: Any) -> Any:
    return "comm_msg", {"comm_id": comm_id, "data": data}, list(buffers)


def view(comm_id: str) -> Any:
    return _mime(
        "application/vnd.jupyter.widget-view+json",
        {"model_id": comm_id, "version_major": 2, "version_minor": 0},
    )[0]


def widget(
    mark: str, model: str = "HTMLModel", view_name: str = "HTMLView", style: Any = None, **state: Any
) -> list[Any]:
    """A widget with its layout and style, and the display of it."""
    names = {"layout": f"IPY_MODEL_lay{mark}", "style": f"IPY_MODEL_sty{mark}"}
    return [
        opened(f"lay{mark}", "LayoutModel", "LayoutView", BASE),
        opened(f"sty{mark}", "HTMLStyleModel", "StyleView", view_module=BASE, **(style or {})),
        opened(f"wid{mark}", model, view_name, **{**names, **state}),
        view(f"wid{mark}"),
    ]


def _everything() -> list[Any]:
    """Each widget that ipywidgets has, each trait a text, a list or an object that would run."""
    spec = json.loads(files("gpunb.output.sanitize").joinpath("widgets.json").read_text())
    found: list[Any] = []
    for number, (name, about) in enumerate(spec.items()):
        module, model = name.split()
        for way, value in enumerate([_IMAGE, [_IMAGE], {"toString": _IMAGE, "0": _IMAGE, "length": 1}]):
            state = {trait: value for trait in about["traits"] if trait not in ("layout", "style")}
            comm_id = f"all{number}x{way}"
            view_module, view_name = about["view"]
            found += [opened(comm_id, model, view_name, module, view_module, **state), view(comm_id)]
            found.append(said(comm_id, method="update", state=state, buffer_paths=[]))
    return found


PAYLOADS |= {
    "a widget's text": widget("a", value=_IMAGE),
    "a widget's value that is a list": widget("b", value=[_IMAGE]),
    "a model with another class's view": widget("c", model="LabelModel", value=_IMAGE) + widget("c2", model="TextModel", value=_IMAGE),
    "a style that loads an address": widget("d", value="styled", style={"background": ["url(URL)"]})
    + widget("d2", value="styled", style={"background": "url(URL)", "text_color": "red;background:url(URL)"}),
    "a description that is HTML": widget("e", value="x", description=[_IMAGE], description_allow_html=True)
    + widget("e2", value="x", description=_IMAGE, description_allow_html=1),
    "a widget that writes a file by the page's token": widget("p", value=[f'<img src=x onerror="{WRITES}">']),
    "a state that is a list": [*widget("f", value="x"), said("widf", ("AAAA",), method="update", state=[], buffer_paths=[["__proto__", "__proto__", "pollutedByHost"]])],
    "bytes for what all objects share": [*widget("g", value="x"), said("widg", ("AAAA",), method="update", state={}, buffer_paths=[["__proto__", "map"]])],
    "a widget that becomes another": [*widget("h", model="TextModel", view_name="TextView", value=_IMAGE), opened("widh", "HTMLModel", "HTMLView", value=_IMAGE), view("widh")],
    "a link that copies a text to where it is HTML": [
        *widget("i", model="TextModel", view_name="TextView", value=_IMAGE), *widget("i2", value="x"),
        opened("linki", "LinkModel", None, source=["IPY_MODEL_widi", "value"], target=["IPY_MODEL_widi2", "value"]),
        opened("linkj", "DirectionalLinkModel", None, source=["IPY_MODEL_widi", "value"], target=["IPY_MODEL_styi2", "background"]),
        opened("linkk", "LinkModel", None, source=["IPY_MODEL_widi", "disabled"], target=["IPY_MODEL_widi2", "description_allow_html"]),
    ],
    "states for the page's own question": [
        ("comm_open", {"comm_id": "ctl", "target_name": "jupyter.widget.control", "data": {}}),
        said("ctl", method="update_states", buffer_paths=[], states={"evil1": {
            "model_name": "HTMLModel", "model_module": CONTROLS, "model_module_version": "2.0.0",
            "state": opened("evil1", "HTMLModel", "HTMLView", value=_IMAGE)[1]["data"]["state"]}}),
        view("evil1"),
    ],
    "an Output widget with outputs that run": [
        opened("layout1", "LayoutModel", "LayoutView", BASE),
        opened("out1", "OutputModel", "OutputView", "@jupyter-widgets/output", layout="IPY_MODEL_layout1", outputs=[
            {"output_type": "display_data", "metadata": {}, "data": {"text/html": f"<script>{JS}</script>{_IMAGE}", "application/javascript": JS}},
            {"output_type": "stream", "name": ["stdout"], "text": [_IMAGE]}]),
        view("out1"),
    ],
    "every widget, every trait": _everything(),
    "LaTeX that changes the page's macros": _mime("text/latex", r"$\DeclareMathOperator{\alpha}{WRONG}\DeclareMathOperator{\sum}{HACK} \alpha$")
    + _mime("text/markdown", r"$\DeclareMathOperator{\alpha}{WRONG} \alpha$ $\def\beta{WRONG}$")
    + widget("m", model="LabelModel", view_name="LabelView", value=r"$\DeclareMathOperator{\alpha}{WRONG} \alpha$")
    + widget("m2", model="HTMLMathModel", view_name="HTMLMathView", value=r"$&#92;newcommand{\alpha}{WRONG} \alpha$"),
}  # fmt: skip

#: HTML that is shown by `logs --frame`
FRAMES: dict[str, list[tuple[str, Any]]] = {
    f"in a closed frame: {name}": _html(text)
    for name, text in {
        "a script that fetches": f'<script>{JS}</script><img src=x onerror="{JS}"><svg onload="{JS}">',
        "it goes elsewhere by itself": "<script>location.href='URL'</script><body onload=\"location='URL'\">",
        "a refresh, and what is looked up ahead": "<script>1</script><meta http-equiv=refresh content='0;url=URL'>"
        "<link rel=prefetch href='URL'><link rel=preconnect href='URL'><base href='URL'><link rel=stylesheet href='URL'>",
        "the page around it": "<script>try{top.location='URL'}catch(e){};try{parent.postMessage('x','*')}catch(e){};open('URL')</script>",
        "WebRTC": "<script>new RTCPeerConnection({iceServers:[{urls:'stun:127.0.0.1:9'}]});fetch('URL')</script>",
        "pictures, frames and forms": "<script>1</script><img src='URL'><iframe src='URL'></iframe><object data='URL'></object>"
        "<form action='URL'><input autofocus onfocus='this.form.submit()'></form><style>@import 'URL';</style>",
        "out of its attribute": f'"></iframe><img src=x onerror="{JS}"><script>1</script>&quot;&gt;&lt;img src=x onerror={JS}&gt;',
    }.items()
}  # fmt: skip


def fill(messages: list[Any], url: str) -> list[tuple[str, Any, list[str]]]:
    """With the canary's address in it: kind, content and buffers."""
    text = json.dumps(messages).replace("URL", url)
    return [(str(one[0]), one[1], one[2] if len(one) > 2 else []) for one in json.loads(text)]
