"""Four simulated clouds, from offers to receipts: `make demo-clouds`. No account, no bill.

The clouds answer as the real ones document, the machines behind them are real SSH servers of
this computer, and their clock jumps hours ahead while the machines are up, so that there are
bills worth comparing: the cloud's own against what gpunb counted, to the cent.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

HOME = Path(tempfile.mkdtemp(prefix="gpunb-clouds-"))
os.environ["GPUNB_HOME"] = str(HOME)

from gpunb.cli.offer_options import offers_table  # noqa: E402
from gpunb.offers import parse_query, search  # noqa: E402
from gpunb.output import TextSink, show  # noqa: E402
from gpunb.presentation.result import Result, Table  # noqa: E402
from gpunb.providers import Capability  # noqa: E402
from gpunb.sessions import lifecycle  # noqa: E402
from gpunb.sessions.access import host_access  # noqa: E402
from gpunb.sessions.ledger.sessions import Ledger  # noqa: E402
from gpunb.sim.ending import provider  # noqa: E402
from gpunb.sim.hosts.real import RealHosts  # noqa: E402
from gpunb.sim.serving.runner import Simulation  # noqa: E402
from gpunb.units import money_text  # noqa: E402

if TYPE_CHECKING:
    from gpunb.offers import SearchResult
    from gpunb.providers import Provider
    from gpunb.sessions.model import Receipt, Session
    from gpunb.sim.clock import Clock

QUERY = "vram >= 24 and gpus = 1 order by total"
HOURS, DISK_GB = 12, 40
SHOWN = 2
BOOT_S = 2.0
JUMPS_S = (1_700.0, 5_400.0)  # before and after Vast's stop
STOPPED_S = 2_600.0
CENT = 0.01
CELL = """
import platform, subprocess
print(subprocess.run(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
                     capture_output=True, text=True).stdout.strip())
"""


class CloudTime:
    """The clouds' clock, as the ledger reads it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def time(self) -> float:
        """Unix seconds there."""
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        """Wait; the clock runs as fast as ours between its jumps."""
        time.sleep(seconds)


def main() -> int:
    """Rent from all four, compare, and leave nothing behind; 0 if every bill agrees."""
    began = time.monotonic()
    hosts = RealHosts(HOME / "hosts")
    try:
        with Simulation(hosts=hosts, boot_s=BOOT_S) as simulation:
            clouds = {name: provider(name, one) for name, one in simulation.description().items()}
            with Ledger.open(HOME / "ledger.sqlite", clock=CloudTime(simulation.clock)) as ledger:
                try:
                    rows = _tour(simulation, clouds, ledger)
                finally:
                    host_access.close_all()
                    for cloud in clouds.values():
                        cloud.close()
            left = [row.id for name in clouds for row in simulation[name].billed_now()]
        left += [path.name for path in (HOME / "hosts").iterdir()]
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
    _say(
        Table(
            ["cloud", "instance", ">cloud's bill", ">gpunb's cost", ">apart", "agrees"], rows, title="bills"
        )
    )
    wrong = [row[0] for row in rows if row[-1] != "yes"]
    print(f"left running or billed: {', '.join(left) or 'nothing'}")
    print(f"{len(rows)} rentals in {time.monotonic() - began:.0f} s of ours")
    if wrong or left:
        print(f"NOT WELL: {', '.join([*wrong, *left])}", file=sys.stderr)
        return 1
    return 0


def _tour(simulation: Simulation, clouds: dict[str, Provider], ledger: Ledger) -> list[list[Any]]:
    found = search(clouds, parse_query(QUERY, hours=4, disk=DISK_GB))
    if found.failed:
        raise found.failed[0].error or RuntimeError
    of_cloud: Counter[str] = Counter()
    best = []
    for row in found.rows:
        of_cloud[row.offer.provider] += 1
        if of_cloud[row.offer.provider] <= SHOWN:
            best.append(row)
    found.rows = best
    _say(offers_table(found))
    print(f"the best {SHOWN} of each; {found.matched} offers fit {QUERY!r}\n")
    with ThreadPoolExecutor(len(clouds)) as pool:
        sessions = dict(zip(clouds, pool.map(lambda name: _rent(clouds[name], ledger), clouds), strict=True))
        for name, said in zip(clouds, pool.map(lambda name: _cell(sessions[name]), clouds), strict=True):
            print(f"{name:>10}: a cell over SSH says: {said}")
        simulation.clock.advance(JUMPS_S[0])
        for name, cloud in clouds.items():
            if cloud.can(Capability.STOP):
                sessions[name] = _stop_and_start(simulation.clock, ledger, cloud, sessions[name])
        simulation.clock.advance(JUMPS_S[1])
        receipts = pool.map(lambda name: lifecycle.down(ledger, clouds[name], sessions[name]), clouds)
        return [_compared(simulation, name, receipt) for name, receipt in zip(clouds, receipts, strict=True)]


def _rent(cloud: Provider, ledger: Ledger) -> Session:
    """The best offer of one cloud, ready."""
    found: SearchResult = search({cloud.name: cloud}, parse_query(QUERY, hours=4, disk=DISK_GB))
    request = lifecycle.RentRequest(name=cloud.name, hours=HOURS, disk_gb=DISK_GB)
    offers = [row.offer for row in found.rows if row.offer.available][:5]
    session = lifecycle.rent(ledger, cloud, offers, request)
    print(f"{cloud.name:>10}: rented {session.gpu} for {money_text(session.hourly, digits=3)} an hour")
    return session


def _cell(session: Session) -> str:
    out = io.StringIO()
    handle = host_access.agent(session).run_cell(CELL)
    show(handle, TextSink(out, out), interactive=False)
    return out.getvalue().strip()


def _stop_and_start(clock: Clock, ledger: Ledger, cloud: Provider, session: Session) -> Session:
    session = lifecycle.stop(ledger, cloud, session)
    print(f"{cloud.name:>10}: stopped; its disk costs {money_text(session.hourly, digits=4)} an hour")
    clock.advance(STOPPED_S)
    session = lifecycle.start(ledger, cloud, session)
    print(f"{cloud.name:>10}: started again, at another port: {_cell(session)}")
    return session


def _compared(simulation: Simulation, name: str, receipt: Receipt) -> list[Any]:
    theirs = sum(simulation[name].bill_of(_own_id(receipt.instance_id)).values())
    ours = receipt.cost.total
    agrees = "yes" if abs(theirs - ours) < CENT else "NO"
    return [name, receipt.instance_id, f"${theirs:.4f}", f"${ours:.4f}", f"${abs(theirs - ours):.4f}", agrees]


def _own_id(instance_id: str) -> str:
    """Fluence's ids carry the kind before a colon."""
    return instance_id.rpartition(":")[2]


def _say(table: Table) -> None:
    print(Result(None, table).text(width=130))


if __name__ == "__main__":
    sys.exit(main())
