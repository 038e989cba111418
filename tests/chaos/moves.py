"""A move as a user of a schedule makes it: the real steps, with a copy that takes its time."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.progress import SILENT
from gpunb.services import moving
from gpunb.services.moving.content import Carried
from gpunb.sessions import lifecycle
from gpunb.sessions.access.activity import at_work
from gpunb.sessions.model import SessionState
from tests.support.rentals.agreements import anything

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gpunb.progress import Progress
    from gpunb.providers.base import Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session
    from tests.chaos.world import Process, World


@dataclass
class _Around:
    """What of a workspace a move needs."""

    process: Process

    @property
    def ledger(self) -> Ledger:
        """The process's."""
        return self.process.ledger

    def provider(self, name: str) -> Provider:
        """The process's, too."""
        return self.process.provider(name)

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """None is shown."""
        return nullcontext(SILENT)


def move(world: World, process: Process, watch: Callable[[Any], None]) -> None:
    """Move one that is ready to an offer of any cloud."""
    draw, ledger, host = world.stage.random, process.ledger, process.host
    ready = [one for one in ledger.sessions() if one.state is SessionState.READY]
    able = [one for one in ready if not one.ends_with and not one.moves_from]
    if not able:
        return
    session = draw.choice(able)
    name = draw.choice(list(world.clouds))
    offer = draw.choice(world.offers[name])
    request = lifecycle.RentRequest(
        hours=0.5,
        agreed=anything(offer),
        save=session.save,
        save_to=session.save_to,
        moves_from=session.id,
    )
    with at_work(ledger, session, host=host):
        made = lifecycle.rent(ledger, process.provider(name), [offer], request, host=host, watch=watch)

        def copied() -> Carried:
            for _ in range(draw.randint(1, 3)):
                host.settle(session)
                host.settle(made)
                world.stage.sleep(draw.choice([1.0, 40.0, 200.0]))  # the last is longer than a claim
            world.saves.copies[session.id] = made.id
            return Carried()

        around: Any = _Around(process)
        moving.hand_over(around, session, made, copied, switched=lambda *_: _names(world), host=host)


def _names(world: World) -> None:
    names = [one.name for one in world.observer.sessions()]
    assert len(names) == len({*names}), names


def took_over(world: World, session: Session) -> bool:
    """Whether another machine has all of its files and is in its place by now."""
    made = world.saves.copies.get(session.id)
    return made is not None and any(one.kind == "moved" for one in world.observer.events(made))
