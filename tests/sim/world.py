"""A simulated cloud, a ledger on its clock, and a host that answers as the cloud's machine would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.rentals.agreements import anything
from support.rentals.simulated import Simulated, in_process

from gpunb.errors import GpunbError, Unreachable
from gpunb.offers import admit
from gpunb.progress import SILENT
from gpunb.providers import Offer, OfferQuery
from gpunb.sessions import lifecycle
from gpunb.sessions.access.host_access import HostAccess, Pulse
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpunb.sessions.model import Receipt, Session
    from gpunb.sim import Clock

NOWHERE_PORT = 1


class CloudTime:
    """The cloud's virtual clock for the ledger: waiting moves it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def time(self) -> float:
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        self.clock.advance(max(seconds, 0.001))


class PaperReach(HostAccess):
    """The host as far as a machine on paper has one: where nothing listens, nothing answers."""

    def __init__(self, time: CloudTime) -> None:
        self.time = time

    def prepare(self, session_id: str, label: str) -> str:
        from gpunb.sessions.access.host_access import key_pair

        return key_pair(session_id, comment=label).public_line

    def pin(self, session: Session, line: str) -> None:
        return

    def wait(self, session: Session, *, timeout: float, progress: Any, give_up: Callable[[], None]) -> None:
        give_up()
        if session.port == NOWHERE_PORT:
            self.time.sleep(timeout)
            msg = f"no SSH server answers at {session.host}:{session.port}"
            raise Unreachable(msg)
        self.time.sleep(1.0)

    def arm(self, session: Session, progress: Any = SILENT) -> None:
        return

    def first_cell(self, session: Session, progress: Any = SILENT) -> None:
        return

    def pulse(self, session: Session) -> Pulse:
        return Pulse()

    def settle(self, session: Session) -> None:
        return

    def shutdown(self, session: Session) -> None:
        return

    def drop(self, session_id: str) -> None:
        return

    def kept_disk(self, provider: Any) -> None:
        return


@dataclass
class World:
    """One cloud and one user of it."""

    sim: Simulated
    ledger: Ledger
    host: PaperReach
    said: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.said.append(message)

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        return

    def offers(self, count: int = 3) -> list[Offer]:
        """The cheapest that may be rented, as ``rent`` would try them."""
        found, _ = admit(self.sim.cloud.name, self.sim.provider.search(OfferQuery(disk_gb=20)))
        fitting = [one for one in found if one.available and one.disk_max_gb >= 20]
        return sorted(fitting, key=lambda one: one.hourly(20))[:count]

    def rent(self, offers: list[Offer] | None = None, **request: Any) -> Session:
        offers = self.offers() if offers is None else offers
        # the cheapest of a small cloud are of all kinds, and each is to be tried
        values = {"hours": 6, "disk_gb": 20, "boot_s": 1200, "agreed": anything(offers[0])}
        asked = lifecycle.RentRequest(**{**values, **request})
        return lifecycle.rent(
            self.ledger,
            self.sim.provider,
            offers,
            asked,
            host=self.host,
            progress=self,
        )

    def down(self, session: Session) -> Receipt:
        return lifecycle.down(self.ledger, self.sim.provider, session, host=self.host, progress=self)

    def refresh(self, session: Session) -> Session:
        return lifecycle.refresh(self.ledger, self.sim.provider, session, host=self.host)

    def try_rent(self, offers: list[Offer] | None = None) -> tuple[Session | None, GpunbError | None]:
        try:
            return self.rent(offers), None
        except GpunbError as err:
            return None, err

    def session(self) -> Session:
        """The one session that was ever made."""
        (found,) = self.ledger.sessions(alive=False)
        return found

    def theirs(self) -> float:
        """Dollars that the cloud bills for everything until now."""
        now = self.sim.clock.now()
        return sum(account.spent(now) for account in self.sim.cloud.accounts.values())

    def ours(self) -> float:
        """Dollars that the ledger counts for it."""
        return sum(self.ledger.cost(one.id).total for one in self.ledger.sessions(alive=False))

    def billed(self) -> list[str]:
        return [one.id for one in self.sim.cloud.billed_now()]


def world(name: str, folder: Path) -> World:
    """The cloud `name` and an empty ledger in `folder`."""
    sim = in_process(name)
    time = CloudTime(sim.clock)
    return World(sim, Ledger.open(folder / "ledger.sqlite", clock=time), PaperReach(time))
