"""Bundle of the widgets' modules in ``static/``, as the single text that anywidget takes.

The files import each other as any browser or bundler understands: JupyterLab's extension and the
tests load them as they are. There is no build step for a notebook's widget; its text is the files
one after the other, each after those it imports, without the imports. So no two modules of a
widget may declare the same name at their top level; tests/widgets/test_bundle.py checks it.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache
from importlib.resources import files

__all__ = ["bundle"]

# import { a, b } from "./x.js";   and   @import "./x.css";
IMPORT = re.compile(r'^@?import [^"]*"(\.{1,2}/[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default\b)", re.MULTILINE)


@cache
def bundle(name: str) -> str:
    """Return the file `name` in ``static/`` after all files that it imports, without the imports."""
    folder = files("gpunb.notebook.widgets") / "static"
    seen: set[str] = set()
    texts: list[str] = []

    def add(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        text = (folder / name).read_text("utf-8")
        for found in IMPORT.findall(text):
            add(posixpath.normpath(posixpath.join(posixpath.dirname(name), found)))
        texts.append(_EXPORT.sub("", IMPORT.sub("", text)))

    add(name)
    return "\n".join(texts)
