"""A sink that keeps a run's outputs, all MIME types, in the form that a notebook's file has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.output.sinks import Sink

__all__ = ["KeptOutputs"]


class KeptOutputs:
    """Keeps outputs as nbformat's dicts in `made`, and passes each on to another sink at once.

    Parameters
    ----------
    also
        The sink that shows them live; None only keeps.
    displays
        The displays by their display id, for updates; shared by the cells of one notebook.
    notes
        Whether gpunb's own notes are kept, too, as text on stderr.
    """

    def __init__(
        self,
        also: Sink | None = None,
        *,
        displays: dict[str, list[dict[str, Any]]] | None = None,
        notes: bool = False,
    ) -> None:
        self.made: list[dict[str, Any]] = []
        self._also = also
        self._displays = {} if displays is None else displays
        self._notes = notes
        self._clear = False

    def __getattr__(self, name: str) -> Any:
        # what only some sinks have: a pager, widgets, an exception of its own
        if name.startswith("_") or self._also is None:
            raise AttributeError(name)
        return getattr(self._also, name)

    def text(self, stream: str) -> str:
        """All that was printed to "stdout" or "stderr"."""
        return "".join(
            one["text"] for one in self.made if one["output_type"] == "stream" and one["name"] == stream
        )

    def stream(self, name: str, text: str) -> None:
        """Keep printed text; what follows on the same stream is one output."""
        last = self.made[-1] if self.made and not self._clear else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] += text
        else:
            self._add({"output_type": "stream", "name": name, "text": text})
        if self._also is not None:
            self._also.stream(name, text)

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Keep a display, or change those of its display id."""
        name = (content.get("transient") or {}).get("display_id")
        if update:
            for output in self._displays.get(str(name), []):
                output.update(_bundle(content))
        else:
            output = {"output_type": "display_data", **_bundle(content)}
            if name:
                self._displays.setdefault(str(name), []).append(output)
            self._add(output)
        if self._also is not None:
            self._also.display(content, update=update)

    def result(self, content: dict[str, Any]) -> None:
        """Keep the value of the cell's last line."""
        count = content.get("execution_count")
        number = count if isinstance(count, int) else None
        self._add({"output_type": "execute_result", "execution_count": number, **_bundle(content)})
        if self._also is not None:
            self._also.result(content)

    def error(self, content: dict[str, Any]) -> None:
        """Keep a traceback."""
        words = {key: str(content.get(key, "")) for key in ("ename", "evalue")}
        lines = [str(line) for line in content.get("traceback", [])]
        self._add({"output_type": "error", **words, "traceback": lines})
        show = getattr(self._also, "error", None)
        if show is not None:
            show(content)
        elif self._also is not None:
            self._also.stream("stderr", "\n".join(lines) + "\n")

    def clear(self, *, wait: bool) -> None:
        """Drop what is kept, at once or before the next output."""
        if wait:
            self._clear = True
        else:
            self.made.clear()
        if self._also is not None:
            self._also.clear(wait=wait)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask through the other sink; without one the answer is empty."""
        return "" if self._also is None else self._also.ask(prompt, password=password)

    def note(self, text: str) -> None:
        """Pass gpunb's note on."""
        if self._notes:
            self.stream("stderr", f"gpunb: {text}\n")
        elif self._also is not None:
            self._also.note(text)

    def finish(self) -> None:
        """Drop what waited to be cleared."""
        if self._clear:
            self.made.clear()
            self._clear = False
        if self._also is not None:
            self._also.finish()

    def _add(self, output: dict[str, Any]) -> None:
        if self._clear:
            self.made.clear()
            self._clear = False
        self.made.append(output)


def _bundle(content: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(content.get(key) or {}) for key in ("data", "metadata")}
