"""Notebooks as jobs, by papermill's rules: parameters in, the executed notebook back."""

from __future__ import annotations

import base64
import contextlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, HostError
from gpunb.hints import typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session

__all__ = ["argv", "bring", "parameters", "prepare", "put", "result_path"]

FIRST, INJECTED = "parameters", "injected-parameters"  # the cell tags that papermill reads and writes
_WIDGETS = "application/vnd.jupyter.widget-state+json"
_NUMBER = re.compile(r"[+-]?\d[\d_]*$")


def parameters(
    values: Iterable[tuple[str, str]], raw: Iterable[tuple[str, str]], given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Parse ``-p`` and ``-r``; a ``-p`` that looks like a number, a boolean or None becomes one.

    Parameters
    ----------
    given
        Parameters that are plain values already.

    Raises
    ------
    BadInput
        A name is not a valid Python name.
    """
    result: dict[str, Any] = {name: _value(text) for name, text in values}
    result.update(raw)
    result.update(given or {})
    for name in result:
        if not name.isidentifier():
            msg = f"run -p {name!r}: not a name that a notebook's variable can have"
            raise BadInput(msg, hint=typed("run train.ipynb -p lr 0.1"))
    return result


def _value(text: str) -> Any:
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        return int(text) if _NUMBER.match(text) else float(text)
    except ValueError:
        return text


def prepare(path: Path, values: dict[str, Any]) -> bytes:
    """Load the notebook at `path` and add a cell that sets `values` after the one tagged ``parameters``.

    A cell injected by an earlier run is replaced; without either, it becomes the first.

    Raises
    ------
    BadInput
        The file is not a notebook, or not one for Python.
    """
    import nbformat

    try:
        book = nbformat.read(path, as_version=4)
    except Exception as err:
        why = (str(err) or type(err).__name__).splitlines()[0]
        msg = f"run {str(path)!r} is not a notebook: {why[:300]}"
        raise BadInput(msg) from err
    language = book.metadata.get("kernelspec", {}).get("language") or book.metadata.get(
        "language_info", {}
    ).get("name", "python")
    if language != "python":
        msg = f"run {str(path)!r} is a notebook for {language}; the host runs Python"
        raise BadInput(msg)
    if values:
        _inject(book, values)
    about = book.metadata.setdefault("papermill", {})
    about.update(parameters=values, input_path=path.name, output_path=result_path(path, None).name)
    return str(nbformat.writes(book)).encode()


def _inject(book: Any, values: dict[str, Any]) -> None:
    import nbformat

    lines = [f"{name} = {_source(value)}" for name, value in values.items()]
    cell = nbformat.v4.new_code_cell("\n".join(["# Parameters", *lines]), metadata={"tags": [INJECTED]})
    if book.nbformat_minor < 5:
        cell.pop("id", None)
    tags = [found.metadata.get("tags", []) for found in book.cells]
    before = [index for index, found in enumerate(tags) if INJECTED in found]
    first = [index for index, found in enumerate(tags) if FIRST in found]
    if before:
        book.cells[before[0]] = cell
    else:
        book.cells.insert(first[0] + 1 if first else 0, cell)


def _source(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def result_path(path: Path, given: str | None) -> Path:
    """The local path of the executed notebook."""
    return Path(given) if given else path.with_name(f"{path.stem}.out.ipynb")


def put(client: AgentClient, run_id: str, data: bytes) -> str:
    """Send the prepared notebook; returns its path on the host.

    Raises
    ------
    HostError
        The host could not write it.
    """
    from gpunb.ssh import quote

    folder = f"{client.info.folder}/notebooks"
    target = f"{folder}/{run_id}.ipynb"
    line = quote(["sh", "-c", 'umask 077; mkdir -p "$1" && cat > "$2"', "sh", folder, target])
    done = client.connection.run(line, input=data, timeout=600)
    if done.code:
        msg = f"the notebook could not be sent: {done.err.decode('utf-8', 'replace').strip()[-500:]}"
        raise HostError(msg)
    return target


def argv(client: AgentClient, source: str, result: str) -> Sequence[str]:
    """The job's command line: the agent's notebook runner, in the host's Python."""
    agent = f"{client.info.folder}/agent/{client.info.agent}"
    return [client.info.python, "-u", agent, "notebook", source, result]


def harmless(book: Any) -> None:
    """Sanitize an untrusted host's notebook: outputs as those of cells are, no attachments."""
    from gpunb.output.sanitize.gate import Gate

    _clean_widgets(book)
    for cell in book.get("cells", []):
        gate = Gate("stranger")
        cell.pop("attachments", None)
        found = []
        for output in cell.get("outputs", []):
            kind = output.get("output_type")
            if kind == "stream":
                output["text"] = gate.text("".join(output.get("text", "")), 10 << 20)
                found.append(output)
            elif kind == "error":
                output.update(gate.error(dict(output)))
                found.append(output)
            elif kind in ("display_data", "execute_result"):
                output["data"], output["metadata"] = gate.bundle(dict(output.get("data", {}))), {}
                found.append(output)
        if "outputs" in cell:
            cell["outputs"] = found


def _clean_widgets(book: Any) -> None:
    """Sanitize the saved widget state with the filter of live widgets."""
    from gpunb.output.sanitize.widgets import MOST_OPEN, Refused, WidgetGate

    sent = book.metadata.pop("widgets", None)
    about = sent.get(_WIDGETS) if isinstance(sent, dict) else None
    states = about.get("state") if isinstance(about, dict) else None
    left = list((states if isinstance(states, dict) else {}).items())[:MOST_OPEN]
    gate, kept = WidgetGate(), {}
    while True:
        ready = [one for one in left if not gate.missing(_opening(*one)[0])]
        if not ready:
            break
        left = [one for one in left if one not in ready]
        for name, widget in ready:
            with contextlib.suppress(Refused):
                content, _, raw = gate.opening(*_opening(name, widget))
                kept[name] = _widget(content["data"], raw)
    if kept:
        book.metadata["widgets"] = {_WIDGETS: {"state": kept, "version_major": 2, "version_minor": 0}}


def _opening(name: str, widget: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Convert a widget's saved state to the message that opens a live one."""
    widget = widget if isinstance(widget, dict) else {}
    buffers = [buffer for buffer in widget.get("buffers") or [] if isinstance(buffer, dict)]
    raw = [_bytes(buffer.get("data")) for buffer in buffers]
    data = {"state": widget.get("state"), "buffer_paths": [buffer.get("path") for buffer in buffers]}
    return {"comm_id": name, "target_name": "jupyter.widget", "data": data}, raw


def _bytes(text: object) -> bytes:
    with contextlib.suppress(ValueError):
        return base64.b64decode(str(text).encode("ascii", "replace"))
    return b""


def _widget(data: dict[str, Any], raw: list[bytes]) -> dict[str, Any]:
    """Convert an opening message back to a widget's saved state."""
    state = data["state"]
    found = {name: state.get(f"_{name}") for name in ("model_name", "model_module", "model_module_version")}
    buffers = [
        {"encoding": "base64", "path": path, "data": base64.b64encode(one).decode("ascii")}
        for path, one in zip(data["buffer_paths"], raw, strict=True)
    ]
    return {**found, "state": state, **({"buffers": buffers} if buffers else {})}


def bring(client: AgentClient, session: Session, result: str, target: Path) -> int:
    """Download the result; returns its size in bytes.

    Raises
    ------
    HostError
        It is not there, or did not come whole.
    BadInput
        What came is not a notebook, or can't be written here.
    """
    import nbformat

    from gpunb.ssh import quote

    done = client.connection.run(quote(["cat", "--", result]), timeout=3600)
    if done.code:
        msg = f"{result} can't be brought back: {done.err.decode('utf-8', 'replace').strip()[-500:]}"
        raise HostError(msg, hint=typed("sync", f"{session.name}:{result}", ".") + " tries again")
    beside = target.with_name(f"{target.name}.part")
    try:
        book = nbformat.reads(done.out.decode(), as_version=nbformat.NO_CONVERT)
        if session.trust == "stranger":
            harmless(book)
            beside.write_text(nbformat.writes(book), "utf-8")
        else:
            beside.write_bytes(done.out)
        beside.replace(target)
    except OSError as err:
        msg = f"{str(target)!r} can't be written here: {err.strerror}"
        raise BadInput(
            msg, hint=typed("sync", f"{session.name}:{result}", ".") + " brings it elsewhere"
        ) from err
    except Exception as err:
        msg = f"what the host has as {result} is not a notebook"
        raise HostError(msg) from err
    return len(done.out)
