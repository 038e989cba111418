"""What each verb prints with ``--json``: its model, from which `make types` writes docs/json-schemas.json.

Scripts rely on the names: a field is added, and not renamed. Times are Unix seconds, money is US dollars,
sizes are bytes if their name does not say GB; null is unknown, or no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.presentation.answers import account, files, renting, running, vast, watching
from gpunb.presentation.answers.account import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS", "Failure"]

#: verb -> what it prints; instead of it a verb that fails prints a `Failure`
ANSWERS: Mapping[str, Any] = {
    **renting.ANSWERS,
    **running.ANSWERS,
    **files.ANSWERS,
    **watching.ANSWERS,
    **account.ANSWERS,
    **vast.ANSWERS,
}
