"""A run whose machine is taken goes on from its checkpoint on the next one (`once --checkpoint`).

`chain` has the rules: when a machine is taken, and what the next one may cost; `checkpoints` what of a run is
kept here; `starting` the process that rents and begins. The supervisor carries it out
(`gpunb.sessions.supervisor.next_machines`).
"""

from __future__ import annotations
