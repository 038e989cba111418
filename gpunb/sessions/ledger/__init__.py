"""The ledger: the SQLite file that holds sessions, intents, cost segments and receipts.

`sessions` is the `Ledger`, whose parts are `connection`, `following_clock`, `accounting` and `runs`;
`peek` reads the file without importing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger, label_for, new_id, valid_name

__all__ = ["Ledger", "label_for", "new_id", "valid_name"]


def __getattr__(name: str) -> Any:
    """Import the `Ledger` lazily: importing `peek` must stay cheap."""
    if name in __all__:
        from gpunb.sessions.ledger import sessions

        return getattr(sessions, name)
    raise AttributeError(name)
