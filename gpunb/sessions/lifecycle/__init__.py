"""The lifecycle: rent, down, stop, start, refresh and resume move a session from state to state.

Every step is in the ledger before and after its effect, so that `resume` can finish it from
any process. Time comes from the ledger's clock, the host is reached through an object
that tests replace.

`rental` and `create_call` rent, `bringup` makes it ready, `stop_start`, `rebooting` and `taking_down` hold
the other verbs, `catching_up` follows the provider; `ending` is the end itself, step by step.
"""

from __future__ import annotations

from gpunb.sessions.cost.lease import extend
from gpunb.sessions.lifecycle.catching_up import apply, refresh, resume
from gpunb.sessions.lifecycle.ending import forget
from gpunb.sessions.lifecycle.rent_request import RentRequest
from gpunb.sessions.lifecycle.rental import rent
from gpunb.sessions.lifecycle.stop_start import check_start, check_stop, start, stop
from gpunb.sessions.lifecycle.taking_down import down
from gpunb.sessions.lifecycle.timeouts import Timing

__all__ = [
    "RentRequest",
    "Timing",
    "apply",
    "check_start",
    "check_stop",
    "down",
    "extend",
    "forget",
    "refresh",
    "rent",
    "resume",
    "start",
    "stop",
]
