"""Completion, inspection and history from the host while ``%gpu on`` is active.

A host that is busy or unreachable is skipped at once, a slow one after a short
timeout, and this kernel answers as it always does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["install", "uninstall"]

WAIT_S = 5.0  # seconds that a key press may wait for an idle host; its first answer imports jedi
_HOOKS = ("do_complete", "do_inspect", "do_history")
_HISTORY = ("hist_access_type", "output", "raw", "session", "start", "stop", "n", "pattern", "unique")


def install(shell: InteractiveShell) -> None:
    """Let the host answer before this kernel does."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:  # IPython in a terminal
        _wrap(shell.Completer, "completions", lambda own: lambda *args: _completions(shell, own, *args))
        return
    _wrap(kernel, "do_complete", lambda own: lambda *args: complete(shell, *args) or own(*args))
    _wrap(
        kernel,
        "do_inspect",
        lambda own: lambda *args, **more: inspect(shell, *args, **more) or own(*args, **more),
    )
    _wrap(
        kernel,
        "do_history",
        lambda own: lambda *args, **more: history(shell, *args, **more) or own(*args, **more),
    )


def uninstall(shell: InteractiveShell) -> None:
    """Restore this kernel's own answers."""
    kernel = getattr(shell, "kernel", None)
    for name in _HOOKS if kernel is not None else ():
        vars(kernel).pop(name, None)
    vars(shell.Completer).pop("completions", None)


def _wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Set ``owner.name`` on the instance, over the class's own method."""
    vars(owner).pop(name, None)
    vars(owner)[name] = make(getattr(owner, name))


def complete(shell: InteractiveShell, code: str, cursor: int) -> dict[str, Any] | None:
    """Return the host's completion of `code` at `cursor`; None if this kernel should answer."""
    place = _body(code, cursor)
    if place is None:
        return None
    body, shift = place
    reply = _ask(shell, "complete_request", {"code": body, "cursor_pos": cursor - shift})
    if reply is None or not isinstance(reply.get("matches"), list):
        return None
    start, end = reply.get("cursor_start"), reply.get("cursor_end")
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    metadata = reply.get("metadata")
    types = [
        {**one, "start": one["start"] + shift, "end": one["end"] + shift}
        for one in (metadata.get("_jupyter_types_experimental", []) if isinstance(metadata, dict) else [])
        if isinstance(one, dict) and isinstance(one.get("start"), int) and isinstance(one.get("end"), int)
    ]
    return {
        "status": "ok",
        "matches": [str(match) for match in reply["matches"]],
        "cursor_start": start + shift,
        "cursor_end": end + shift,
        "metadata": {"_jupyter_types_experimental": types},
    }


def inspect(
    shell: InteractiveShell, code: str, cursor: int, detail_level: int = 0, *_: Any, **__: Any
) -> dict[str, Any] | None:
    """Return the host's documentation of the name at `cursor`; None if this kernel should answer."""
    place = _body(code, cursor)
    if place is None:
        return None
    body, shift = place
    content = {"code": body, "cursor_pos": cursor - shift, "detail_level": detail_level}
    reply = _ask(shell, "inspect_request", content)  # its text has passed the output filter
    if reply is None or not isinstance(reply.get("data"), dict):
        return None
    return {"status": "ok", "found": bool(reply.get("found")), "data": reply["data"], "metadata": {}}


def history(shell: InteractiveShell, *args: Any, **more: Any) -> dict[str, Any] | None:
    """Return the host's history; None if this kernel should answer."""
    content = {**dict(zip(_HISTORY, args, strict=False)), **more}
    reply = _ask(shell, "history_request", {key: one for key, one in content.items() if one is not None})
    if reply is None or not isinstance(reply.get("history"), list):
        return None
    return {"status": "ok", "history": reply["history"]}


def _body(code: str, cursor: int) -> tuple[str, int] | None:
    """Return the text for the host and its offset in `code`; None for text of gpunb's own magics."""
    line = code[code.rfind("\n", 0, cursor) + 1 : cursor]
    if line.startswith(("%gpu", "%%gpu", "%%local")) or code.startswith("%%local"):
        return None
    shift = code.find("\n") + 1 if code.startswith("%%gpu") else 0
    return code[shift:], shift


def _ask(shell: InteractiveShell, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
    from gpunb.notebook.cell_router import mode_of

    mode = mode_of(shell)
    client = mode.client if mode is not None else None
    if client is None or not client.connected:
        return None
    from gpunb import log
    from gpunb.errors import GpunbError
    from gpunb.output.sanitize import replies

    try:
        reply = client.kernel_request(kind, content, timeout=WAIT_S, quick=True)
        reply = replies.clean(kind, reply, client.trust)
    except GpunbError as err:
        log.get(__name__).debug("%s: %s", kind, err)
        return None
    return reply if reply.get("status") == "ok" else None


def _completions(shell: InteractiveShell, own: Any, text: str, offset: int) -> Iterator[Any]:
    """Yield completions like ``IPCompleter.completions``, for IPython in a terminal."""
    found = complete(shell, text, offset)
    if found is None:
        yield from own(text, offset)
        return
    from IPython.core.completer import Completion

    for match in found["matches"]:
        yield Completion(start=found["cursor_start"], end=found["cursor_end"], text=match)
