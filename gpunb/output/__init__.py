"""The output of hosts, shown here: cells, widgets and late output, through one filter.

`player` plays a run into one of the `sinks`, a notebook or a terminal; `sanitize` makes a stranger's
output harmless.
"""

from __future__ import annotations

from gpunb.output.player import show
from gpunb.output.sinks import NotebookSink, Sink, TextSink

__all__ = ["NotebookSink", "Sink", "TextSink", "show"]
