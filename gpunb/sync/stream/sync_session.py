"""A whole sync through the agent: check paths, plan, transfer, and resume after a broken connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, HostError, ProtocolError, Unreachable
from gpunb.sync.base_flow import SyncOptions, is_folder, one_host
from gpunb.sync.planning import locations
from gpunb.sync.planning.deletions import Shown
from gpunb.sync.planning.rules import Rules
from gpunb.sync.stream import host_to_host as direct
from gpunb.sync.stream.host_tree import HostSide
from gpunb.sync.stream.stream_flow import StreamFlow
from gpunb.trust import rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.remote import AgentClient
    from gpunb.sync.report import SyncReport

__all__ = ["SyncOptions", "by_agent", "by_agents"]

TRIES = 12  # broken connections in a row without a byte transferred
PAUSE = (0.1, 5.0)
DIRECT_TRIES = 3  # breaks after which files go through this machine
APART_TRIES = 2  # breaks after which channels share a connection: a proxy may limit connections


def by_agent(client: AgentClient, source: str, target: str, direction: str, wish: SyncOptions) -> SyncReport:
    """Sync between this machine and the host of `client`; parameters and errors as `gpunb.sync.sync`."""
    return _patiently((client,), wish, lambda: _one_host(client, (source, target, direction), wish))


def by_agents(
    source_client: AgentClient, source: str, target_client: AgentClient, target: str, wish: SyncOptions
) -> SyncReport:
    """Sync from one host to another: directly if one can reach the other, else through this machine.

    Nothing is kept on this machine's disk. The plan is made here; see
    `gpunb.sync.stream.host_to_host` for what the hosts learn of each other.

    Raises
    ------
    BadInput, NotEnoughSpace, SyncError, Unreachable
        As `gpunb.sync.sync`.
    """
    clients = (source_client, target_client)
    return _patiently(clients, wish, lambda: _two_hosts(*clients, source, target, wish))


def _patiently(
    clients: Sequence[AgentClient], wish: SyncOptions, once: Callable[[], StreamFlow]
) -> SyncReport:
    """Run the sync; when the connection breaks, wait for it and continue with what is left."""
    began = time.monotonic()
    before: list[SyncReport] = []
    idle, pause = 0, PAUSE[0]
    through = ""
    while True:
        flow: StreamFlow | None = None
        try:
            flow = once()
            flow.apart = len(before) < APART_TRIES
            flow.through = through
            flow.run()
        except (Unreachable, HostError) as err:
            report = flow.report if flow is not None else None
            if isinstance(err, ProtocolError) or not _broken(err, clients):
                raise
            moved = report is not None and report.moved_bytes > 0
            idle, pause = (0, PAUSE[0]) if moved else (idle + 1, min(PAUSE[1], pause * 2))
            if report is not None:
                before.append(report)
            if isinstance(err, direct.DirectBroke) or len(before) >= DIRECT_TRIES:
                through = _plainly(err)
            if idle >= TRIES:
                raise
            wish.progress.say("the line broke; the sync goes on when it is back")
            time.sleep(pause)
            for client in clients:
                _ = client.connection  # waits, and raises if it does not come back
            continue
        finally:
            if flow is not None:
                flow.close()
        report = flow.report
        for old in before:
            report.sent_files += old.sent_files
            report.sent_bytes += old.sent_bytes
            report.moved_bytes += old.moved_bytes
            report.deleted += [path for path in old.deleted if path not in report.deleted]
        report.retries = len(before)
        report.seconds = time.monotonic() - began
        return report


def _broken(err: GpunbError, clients: Sequence[AgentClient]) -> bool:
    """Whether waiting may help: the connection broke, or has just been broken."""
    return isinstance(err, Unreachable) or not all(client.connected for client in clients)


def _plainly(err: GpunbError) -> str:
    return err.message if isinstance(err, direct.DirectBroke) else "the line broke several times"


def _one_host(client: AgentClient, ends: tuple[str, str, str], wish: SyncOptions) -> StreamFlow:
    host = HostSide(client)
    try:
        return one_host(StreamFlow, host, client.endpoint, ends, wish, guard=client.trust != "own")
    except BaseException:
        host.close()
        raise


def _two_hosts(
    source_client: AgentClient, target_client: AgentClient, source: str, target: str, wish: SyncOptions
) -> StreamFlow:
    wish.progress.say("listing files")
    side, two = HostSide(source_client), HostSide(target_client)
    try:
        side.look(source)
        two.look(target)
        ends, root = locations.between(side, two, source, target, delete=bool(wish.delete))
        side.alias = {ends.single: ends.source} if ends.single else {}
        guard = source_client.trust != "own"
        rules = Rules(
            None,
            include=wish.include,
            exclude=wish.exclude,
            hold=wish.hold,
            up=True,
            guard=guard and (not wish.everything or rank(source_client.trust) < rank(target_client.trust)),
            everything=wish.everything,
        )
        lock = locations.lock(target_client.endpoint, ends, "up")
        flow = StreamFlow(side, two, ends.single, wish, rules=rules, lock=lock)
        flow.hosts, flow.exists = (side, two), is_folder(two, ends.there)
        flow.where, flow.root = f"the host ({ends.there})", ends.there
        side.enter_soon(root)
        alias = source_client.endpoint.alias, target_client.endpoint.alias
        flow.shown = Shown(*alias, root, ends, wish.delete, wish.include, wish.exclude)
    except BaseException:
        side.close()
        two.close()
        raise
    return flow
