"""The Python API: ``import gpunb``, then `gpunb.rent`, `gpunb.sessions`, `gpunb.offers`.

A frontend beside the terminal, the notebook and JupyterLab, over the same services: what a verb refuses is
refused here with the same error, and what it does is done the same way. ``docs/python-api.md`` shows it.
"""

from __future__ import annotations

from gpunb.python_api.functions import Function, RentedFunction, function
from gpunb.python_api.job import Job
from gpunb.python_api.listed import Offer, Offers, Sessions
from gpunb.python_api.live_session import Session
from gpunb.python_api.renting import offers, offers_async, rent, rent_async, session, sessions
from gpunb.python_api.results import CellResult, Completed, Forward

__all__ = [
    "CellResult",
    "Completed",
    "Forward",
    "Function",
    "Job",
    "Offer",
    "Offers",
    "RentedFunction",
    "Session",
    "Sessions",
    "function",
    "offers",
    "offers_async",
    "rent",
    "rent_async",
    "session",
    "sessions",
]
