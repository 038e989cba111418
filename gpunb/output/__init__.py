"""The display of a host's output: cells, widgets and late output, all through one filter.

`player` plays a run into one of the `sinks`, a notebook or a terminal; `sanitize` makes a stranger's
output harmless.
"""

from __future__ import annotations

from gpunb.output.player import show
from gpunb.output.sinks import NotebookSink, Sink, TextSink

__all__ = ["NotebookSink", "Sink", "TextSink", "show"]
