"""One command that rents a machine, sends the project, runs, brings the results back and ends.

`task` checks what is to run, before anything costs; `flow` does it. The end needs neither: see
`gpunb.sessions.lifecycle.run_end`.
"""

from __future__ import annotations
