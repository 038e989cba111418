"""A sink for a terminal that writes pictures to files and names them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from gpunb.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.output.sinks import Sink

__all__ = ["Figures"]

#: MIME type -> the file's suffix; the first that a display has is written.
SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "application/pdf": ".pdf",
}


class Figures:
    """Writes each picture to a file of its own and passes everything else on.

    The host chooses no name: files are called after the run and counted. A later version of a display
    (``update_display``) replaces the file of the first.

    Parameters
    ----------
    folder
        Where they go; made with the first picture.
    run_id
        Their names begin with it.
    """

    def __init__(self, inner: Sink, folder: Path, run_id: str) -> None:
        self.files: list[Path] = []
        self._inner = inner
        self._folder = folder
        self._run = run_id
        self._by_id: dict[str, Path] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Write its picture; what has none is passed on."""
        if not self._written(content, update=update):
            self._inner.display(content, update=update)

    def result(self, content: dict[str, Any]) -> None:
        """Write its picture; what has none is passed on."""
        if not self._written(content, update=False):
            self._inner.result(content)

    def _written(self, content: dict[str, Any], *, update: bool) -> bool:
        data = content.get("data") or {}
        kind = next((kind for kind in SUFFIXES if kind in data), None)
        if kind is None:
            return False
        shown = str((content.get("transient") or {}).get("display_id") or "")
        before = self._by_id.get(shown) if shown else None
        if update and before is None:
            return False
        path = before or self._folder / f"{self._run}-{len(self.files) + 1}{SUFFIXES[kind]}"
        try:
            body = _bytes(kind, data[kind])
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("wb" if before else "xb") as file:
                file.write(body)
        except (OSError, AttributeError, TypeError, ValueError) as err:
            why = (getattr(err, "strerror", None) or str(err)) if isinstance(err, OSError) else "it is broken"
            self._inner.note(f"a picture was not written to {one_line(path, 300)}: {why}")
            return False
        if before is None:
            self.files.append(path)
            if shown:
                self._by_id[shown] = path
            self._inner.note(f"picture: {path}")
        return True


def _bytes(kind: str, value: Any) -> bytes:
    text = "".join(value) if isinstance(value, list) else value
    if kind == "image/svg+xml":
        return bytes(text.encode("utf-8", "replace"))
    return base64.b64decode("".join(text.split()), validate=True)
