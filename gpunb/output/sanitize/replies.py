"""Sanitizer for replies of a host's kernel: only the fields that the Jupyter protocol documents.

A reply may hold HTML (``inspect``), texts that are shown while typing
(``complete``), URLs and class names (``kernel_info``), and commands to the
frontend (``payload``): to put text in the next cell, to end the notebook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.output.sanitize.gate import Gate
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clean", "executed"]

MOST_MATCHES = 5_000
MOST_HISTORY = 10_000
WORD = 1_000  # characters of a completion
TEXT = 1 << 20


def clean(kind: str, reply: Any, trust: str) -> dict[str, Any]:
    """Sanitize the reply to a request of that `kind`, from a host of that `trust`.

    From the user's own host it passes unchanged; from others it is rebuilt from the known fields.
    """
    if not isinstance(reply, dict):
        return {"status": "error", "ename": "BadReply", "evalue": "the host gave no reply", "traceback": []}
    if trust == "own":
        return reply
    gate = Gate(trust)
    status = reply.get("status")
    if status == "error" and kind != "execute_request":
        return {"status": "error", **gate.error(reply)}
    make = _KINDS.get(kind)
    return {} if make is None else make(reply, gate)


def executed(content: dict[str, Any]) -> dict[str, Any]:
    """Sanitize an execute_input: the code that runs now, and its number."""
    return {"code": str(content.get("code", ""))[:TEXT], "execution_count": _count(content)}


def _count(raw: dict[str, Any]) -> int:
    number = raw.get("execution_count")
    return number if type(number) is int and 0 <= number < 1 << 31 else 0


def _execute(reply: dict[str, Any], gate: Gate) -> dict[str, Any]:
    if reply.get("status") != "ok":
        status = "aborted" if reply.get("status") in ("aborted", "abort") else "error"
        return {"status": status, "execution_count": _count(reply), **gate.error(reply)}
    expressions = reply.get("user_expressions")
    found: dict[str, Any] = {}
    for name, value in list((expressions if isinstance(expressions, dict) else {}).items())[:100]:
        if isinstance(value, dict) and value.get("status") == "ok":
            found[str(name)[:WORD]] = {"status": "ok", "data": gate.bundle(value.get("data")), "metadata": {}}
        elif isinstance(value, dict):
            found[str(name)[:WORD]] = {"status": "error", **gate.error(value)}
    payload = reply.get("payload")
    pages = [
        {"source": "page", "start": 0, "data": gate.bundle(one.get("data"))}
        for one in (payload if isinstance(payload, list) else [])[:5]
        if isinstance(one, dict) and one.get("source") == "page"
    ]
    return {
        "status": "ok",
        "execution_count": _count(reply),
        "user_expressions": found,
        "payload": pages,
    }


def _complete(reply: dict[str, Any], gate: Gate) -> dict[str, Any]:  # noqa: ARG001 - one signature
    matches = reply.get("matches")
    metadata = reply.get("metadata")
    typed = metadata.get("_jupyter_types_experimental") if isinstance(metadata, dict) else None
    types = [
        {
            "start": one["start"],
            "end": one["end"],
            "text": one_line(one.get("text", ""), WORD),
            "type": one_line(one.get("type", ""), 40),
            "signature": one_line(one.get("signature", ""), WORD),
        }
        for one in (typed if isinstance(typed, list) else [])[:MOST_MATCHES]
        if isinstance(one, dict) and type(one.get("start")) is int and type(one.get("end")) is int
    ]
    start, end = reply.get("cursor_start"), reply.get("cursor_end")
    return {
        "status": "ok",
        "matches": [
            one_line(one, WORD) for one in (matches if isinstance(matches, list) else [])[:MOST_MATCHES]
        ],
        "cursor_start": start if type(start) is int else 0,
        "cursor_end": end if type(end) is int else 0,
        "metadata": {"_jupyter_types_experimental": types} if types else {},
    }


def _inspect(reply: dict[str, Any], gate: Gate) -> dict[str, Any]:
    return {
        "status": "ok",
        "found": bool(reply.get("found")),
        "data": gate.bundle(reply.get("data")),
        "metadata": {},
    }


def _history(reply: dict[str, Any], gate: Gate) -> dict[str, Any]:
    found = []
    items = reply.get("history")
    for item in (items if isinstance(items, list) else [])[:MOST_HISTORY]:
        if not isinstance(item, (list, tuple)) or len(item) != 3:
            continue
        session, line, text = item
        if isinstance(text, (list, tuple)) and len(text) == 2:
            texts: Any = [gate.text(text[0]), gate.text(text[1])]
        else:
            texts = gate.text(text)
        if type(session) is int and type(line) is int:
            found.append([session, line, texts])
    return {"status": "ok", "history": found}


def _is_complete(reply: dict[str, Any], gate: Gate) -> dict[str, Any]:  # noqa: ARG001
    status = reply.get("status")
    known = status if status in ("complete", "incomplete", "invalid", "unknown") else "unknown"
    return {"status": known, "indent": " " * min(str(reply.get("indent", "")).count(" "), 80)}


def _info(reply: dict[str, Any], gate: Gate) -> dict[str, Any]:
    language = reply.get("language_info")
    version = language.get("version", "") if isinstance(language, dict) else ""
    return {
        "status": "ok",
        "protocol_version": gate.line(reply.get("protocol_version", "5.3"), 20),
        "implementation": gate.line(reply.get("implementation", "ipython"), 40),
        "implementation_version": gate.line(reply.get("implementation_version", ""), 40),
        # a frontend selects the editor's mode, the file's ending and nbconvert's exporter by these
        "language_info": {
            "name": "python",
            "version": gate.line(version, 40),
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
        "banner": gate.text(reply.get("banner", ""), 2_000),
        "help_links": [],
    }


_KINDS: dict[str, Callable[[dict[str, Any], Gate], dict[str, Any]]] = {
    "execute_request": _execute,
    "complete_request": _complete,
    "inspect_request": _inspect,
    "history_request": _history,
    "is_complete_request": _is_complete,
    "kernel_info_request": _info,
}
