"""One command that rents a machine, sends the project, runs, brings the results back and ends."""

from __future__ import annotations
