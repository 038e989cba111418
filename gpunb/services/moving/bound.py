"""The project folders of a session that moves: bound to the new machine, with what both sides last had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError
from gpunb.sessions.project import places, results, state
from gpunb.sessions.project.bringing import Limits

if TYPE_CHECKING:
    from gpunb.services.moving.content import Carried
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["bring_first", "carry"]


def bring_first(ledger: Ledger, old: Session, done: Carried) -> None:
    """Bring what runs wrote into the bound folder and has not come yet; what can't come is copied anyway."""
    root = places.bound(ledger, old)
    place = places.known(ledger, old).get(str(root))
    if root is None or place is None:
        return
    try:
        results.bring_back(old, root, place, Limits())
    except GpunbError as err:
        done.left[f"what is new in {place}"] = f"it is copied, and has not come here: {err.message}"


def carry(ledger: Ledger, old: Session, new: Session) -> None:
    """Give each folder here its place on the new machine, whose files are a copy of the old one's."""
    for root, place in places.known(ledger, old).items():
        places.keep(ledger, new, Path(root), place)
        state.carry_over(old.id, new.id, Path(root))
    places.bind(ledger, new, places.bound(ledger, old))
