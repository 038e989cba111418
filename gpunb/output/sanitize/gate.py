"""The gate that all output of a host passes before it reaches the screen, the kernel or the browser.

All output (of a cell, a terminal, ``logs``, ``export``, the kernel of a whole
notebook, widgets) goes through a `Gate`. By the host's trust:

own
    everything, as it is.
datacenter
    rich output as it is; terminal codes reduced to colours and progress bars;
    sizes and counts bounded.
stranger
    of rich output only the kinds in `KINDS`, each made harmless (`html`).

What was left out is counted, and reported at the end of the run. The journal on the
host keeps all of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from gpunb.errors import ProtocolError
from gpunb.output.sanitize import html
from gpunb.output.sanitize.redaction import Escapes, SecretRedactor
from gpunb.text import one_line
from gpunb.trust import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["KINDS", "Gate", "loads"]

MOST_DISPLAYS = 1_000  # of one run
MOST_DISPLAY_BYTES = 64 << 20  # of one run, first shown or updated
MOST_EVENTS = 200_000  # updates and clears of one run
MOST_TEXT = 1 << 20  # characters of one text/plain
MOST_PICTURE = 16 << 20  # characters of one picture in base64
MOST_JSON = 24 << 20  # bytes of one message
MOST_PIECES = 500_000  # lists, objects and items in one message: each costs far more than its bytes
MOST_LINES = 2_000  # of one traceback
LINE = 8_000  # characters

_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*\Z")
_MODEL = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_SIZE_KEYS = ("width", "height")


def loads(raw: Any, limit: int = MOST_JSON, pieces: int = MOST_PIECES) -> Any:
    """Parse `raw` as JSON, unless it is too large or would need far more memory than its size.

    Raises
    ------
    ProtocolError
        It is, or it is no JSON.
    """
    data = bytes(raw)
    if len(data) > limit:
        msg = f"a message of {len(data):,} bytes is over the limit of {limit:,}"
        raise ProtocolError(msg)
    if len(data) > pieces and data.count(b"[") + data.count(b"{") + data.count(b",") > pieces:
        msg = f"a message of {len(data):,} bytes has more than {pieces:,} items"
        raise ProtocolError(msg)
    try:
        return json.loads(data.decode("utf-8", "replace"))  # replaced as Jupyter does
    except (ValueError, RecursionError) as err:
        msg = f"a message is not JSON: {str(err)[:200]}"
        raise ProtocolError(msg) from None


class Gate:
    """Filters the output of one run by the host's trust.

    Parameters
    ----------
    trust
        "own", "datacenter" or "stranger"; any other word is a stranger.
    space
        Put before a stranger's display ids, so that it can't change what others have displayed.
    hide
        Secrets that were given to the run: taken out of what it prints.
    frames
        Whether a stranger's HTML that could run code is shown in a closed frame instead.
    """

    def __init__(
        self, trust: str, *, space: str = "", hide: Sequence[str] = (), frames: bool = False
    ) -> None:
        self.trust = trust if trust in LEVELS else "stranger"
        self.space = space
        self.frames = frames
        self.left_out: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self._hide = list(hide)
        self._streams: dict[str, tuple[SecretRedactor, Escapes | None]] = {}
        self._shown = 0
        self._events = 0
        self._bytes = 0

    # -- text

    def stream(self, name: str, text: str) -> str:
        """Return the printed text that may be shown now."""
        hider, escapes = self._stream(name)
        text = hider.feed(text)
        return text if escapes is None else escapes.feed(text)

    def ends(self) -> list[tuple[str, str]]:
        """Return the text that each stream holds back, when the run is over."""
        out = []
        for name, (hider, escapes) in self._streams.items():
            text = hider.finish()
            if escapes is not None:
                text = escapes.feed(text) + escapes.finish()
            if text:
                out.append((name, text))
        return out

    def _stream(self, name: str) -> tuple[SecretRedactor, Escapes | None]:
        if name not in self._streams:
            self._streams[name] = (SecretRedactor(self._hide), None if self.trust == "own" else Escapes())
        return self._streams[name]

    def text(self, text: object, limit: int = MOST_TEXT) -> str:
        """Filter a whole text; colours are kept."""
        found = SecretRedactor(self._hide).whole(str(text))
        if self.trust == "own":
            return found
        if len(found) > limit:
            found = f"{found[:limit]}… ({len(found) - limit:,} characters more)"
        escapes = Escapes()
        return escapes.feed(found) + escapes.finish()

    def line(self, text: object, limit: int = 500) -> str:
        """Filter a text to one plain line."""
        return one_line(SecretRedactor(self._hide).whole(str(text)), limit)

    def error(self, content: Any) -> dict[str, Any]:
        """Filter an error message: its three fields, with a limit on lines."""
        found: Mapping[str, Any] = content if isinstance(content, dict) else {}
        traceback = found.get("traceback")
        lines = [self.text(one, LINE) for one in (traceback if isinstance(traceback, list) else [])]
        if self.trust != "own" and len(lines) > MOST_LINES:
            more = len(lines) - MOST_LINES
            lines = [*lines[: MOST_LINES // 2], f"… {more:,} more lines …", *lines[-MOST_LINES // 2 :]]
        return {
            "ename": self.line(found.get("ename", ""), 200),
            "evalue": self.text(found.get("evalue", ""), LINE),
            "traceback": lines,
        }

    # -- rich output

    def display(self, content: Any, size: int, *, update: bool = False) -> dict[str, Any] | None:
        """Filter a display or result; None if there have been too many.

        Parameters
        ----------
        size
            Its bytes, as they came.
        """
        if not isinstance(content, dict):
            return None
        if self.trust == "own":
            return self._hidden(content)
        if not self.event():
            return None
        what = "updates" if update else "displays"
        if self._bytes + size > MOST_DISPLAY_BYTES or (not update and self._shown >= MOST_DISPLAYS):
            self.cut[what] += 1
            return None
        self._bytes += size
        self._shown += not update
        if self.trust != "stranger":
            return self._hidden(content)
        result: dict[str, Any] = {
            "data": self.bundle(content.get("data")),
            "metadata": _metadata(content.get("metadata")),
            "transient": self._transient(content.get("transient")),
        }
        if type(content.get("execution_count")) is int:
            result["execution_count"] = content["execution_count"]
        return result

    def event(self) -> bool:
        """Count one more update or clear; false beyond the limit."""
        if self.trust == "own":
            return True
        self._events += 1
        if self._events > MOST_EVENTS:
            self.cut["updates"] += 1
            return False
        return True

    def bundle(self, data: Any) -> dict[str, Any]:
        """Sanitize a MIME bundle; unchanged unless the host is a stranger."""
        if not isinstance(data, dict):
            return {}
        if self.trust != "stranger":
            return data
        result: dict[str, Any] = {}
        for kind, value in list(data.items())[:40]:
            take = KINDS.get(str(kind))
            if take is None:
                self.left_out[_title(str(kind))] += 1
                continue
            made = take(self, str(kind), value)
            if made is not None:
                result.setdefault(made[0], made[1])
        if not result and data:
            result["text/plain"] = f"({', '.join(_title(str(kind)) for kind in list(data)[:5])}: not shown)"
        return result

    def _hidden(self, content: dict[str, Any]) -> dict[str, Any]:
        """Remove the run's secrets from the texts of a bundle."""
        data = content.get("data")
        if not self._hide or not isinstance(data, dict):
            return content
        hider = SecretRedactor(self._hide)
        texts = {kind: hider.whole(one) if isinstance(one, str) else one for kind, one in data.items()}
        return {**content, "data": texts}

    def shown(self, value: Any) -> str:
        """Return a text of a bundle, without secrets."""
        return SecretRedactor(self._hide).whole(_joined(value))

    def _transient(self, transient: Any) -> dict[str, Any]:
        name = transient.get("display_id") if isinstance(transient, dict) else None
        return {"display_id": f"{self.space}:{name[:200]}"} if isinstance(name, str) and name else {}

    # -- the report at the end

    def report(self) -> list[str]:
        """Report what was left out and cut, in sentences; empty if nothing was."""
        out = []
        if self.left_out:
            words = ", ".join(self.left_out)
            out.append(f"left out, because this host is a stranger and it could run code here: {words}")
        if self.cut:
            words = " and ".join(f"{count:,} more {what}" for what, count in self.cut.items())
            out.append(f"{words} of this run are not shown; the host's journal keeps them")
        return out


def _metadata(metadata: Any) -> dict[str, Any]:
    """Keep only the sizes of pictures."""
    if not isinstance(metadata, dict):
        return {}
    out: dict[str, Any] = {}
    for kind, about in metadata.items():
        if kind in ("image/png", "image/jpeg", "image/gif", "image/webp") and isinstance(about, dict):
            sizes = {
                key: about[key]
                for key in _SIZE_KEYS
                if type(about.get(key)) in (int, float) and 0 < about[key] <= 10_000
            }
            if sizes:
                out[kind] = sizes
    return out


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(str(one) for one in value)
    return value if isinstance(value, str) else str(value)[:MOST_TEXT]


def _title(kind: str) -> str:
    """Describe a MIME type in words."""
    known = {
        "application/javascript": "JavaScript",
        "application/ecmascript": "JavaScript",
        "text/javascript": "JavaScript",
    }
    if kind in known:
        return known[kind]
    for word in ("plotly", "vega", "bokeh", "holoviews"):
        if word in kind.lower():
            return f"a {word} plot"
    return one_line(kind, 80)


Taken = tuple[str, Any] | None


def _plain(gate: Gate, kind: str, value: Any) -> Taken:
    return kind, gate.text(_joined(value))


def _picture(gate: Gate, kind: str, value: Any) -> Taken:
    text = _joined(value)
    if len(text) > MOST_PICTURE or not _BASE64.match(text):
        gate.cut["pictures"] += 1
        return None
    return kind, text


def _html(gate: Gate, kind: str, value: Any) -> Taken:
    text = gate.shown(value)
    active = html.what_is_active(text) if len(text) <= html.LONGEST else []
    if active and gate.frames:
        return kind, html.frame(text)
    made = html.clean_html(text)
    if made is None:
        gate.cut["HTML outputs that are too large or too deep"] += 1
        return None
    for name in active:
        gate.left_out[name] += 1
    return kind, made


def _markdown(gate: Gate, kind: str, value: Any) -> Taken:  # noqa: ARG001 - one signature for all kinds
    text = gate.shown(value)
    made = html.markdown_html(text)
    if made is None:
        return "text/plain", gate.text(text)
    for name in html.what_is_active(text):
        gate.left_out[name] += 1
    return "text/html", made


def _latex(gate: Gate, kind: str, value: Any) -> Taken:
    text = gate.shown(value)
    made = html.safe_latex(text)
    if made is None:
        gate.left_out["LaTeX with links, HTML or definitions"] += 1
        return "text/plain", gate.text(text)
    return kind, made


def _svg(gate: Gate, kind: str, value: Any) -> Taken:  # noqa: ARG001
    text = gate.shown(value)
    if len(text) > html.LONGEST:
        gate.cut["pictures"] += 1
        return None
    return "text/html", html.svg_picture(text)


def _json_tree(gate: Gate, kind: str, value: Any) -> Taken:
    if len(json.dumps(value)) > MOST_TEXT:
        gate.cut["JSON outputs"] += 1
        return None
    return kind, value


def _view(gate: Gate, kind: str, value: Any) -> Taken:  # noqa: ARG001
    model = value.get("model_id") if isinstance(value, dict) else None
    if not isinstance(model, str) or not _MODEL.match(model):
        return None
    return kind, {"model_id": model, "version_major": 2, "version_minor": 0}


#: The MIME types that a stranger's output may have, and their sanitizers.
KINDS: dict[str, Callable[[Gate, str, Any], Taken]] = {
    "text/plain": _plain,
    "image/png": _picture,
    "image/jpeg": _picture,
    "image/gif": _picture,
    "image/webp": _picture,
    "text/html": _html,
    "text/markdown": _markdown,
    "text/latex": _latex,
    "image/svg+xml": _svg,
    "application/json": _json_tree,
    "application/vnd.jupyter.widget-view+json": _view,
}
