"""The panels at 200 sessions and 10,000 offers: the server's memory over an hour, and the picker's paint.

An hour's events are played to the server's own parts as fast as they take them: each host's load every
ten seconds, runs, activity, jobs and notices, to one page that reads and one that takes nothing. What
the browser draws is measured by `_paint`, where headless Chromium is there.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import process

if TYPE_CHECKING:
    from gpunb.server.hub import Hub
    from gpunb.server.jobs import Job

SESSIONS = 200
HOUR_S = 3600
WARM_S = 600  # caches and pools have their size by then
SAMPLE_S = 10
CHANGE_S = 5
GROWTH_LIMIT_MB = 20.0
LOOK_LIMIT_MS = 250.0
CHILD = "from benchmarks.panel import child; child()"


def run(options: Options) -> Report:
    """Play the hour in a process of its own, and paint."""
    report = Report()
    grown, looks, events = [], [], []
    for _ in range(options.rounds(1)):
        with tempfile.TemporaryDirectory(prefix="gpnb") as folder:
            env = {**os.environ, "GPUNB_HOME": str(Path(folder, "home"))}
            done = process([sys.executable, "-c", CHILD], env=env, timeout=900)
        found = json.loads(done.out.strip().splitlines()[-1])
        grown.append(found["grown_mb"])
        looks.append(found["look_ms"])
        events.append(found["events"])
    report.results += [
        Result(name=f"server: memory grown in 1 h, {SESSIONS} sessions", samples=grown, unit="MB"),
        Result(name=f"server: a look at {SESSIONS} sessions that changed", samples=looks, unit="ms CPU"),
        Result(name="server: events told in that hour", samples=events, unit=""),
    ]
    report.bars += [
        Bar(name="server memory grown in 1 h", value=max(grown), limit=GROWTH_LIMIT_MB, unit="MB"),
        Bar(name="a look that finds changes", value=max(looks), limit=LOOK_LIMIT_MS, unit="ms CPU"),
    ]
    if importlib.util.find_spec("benchmarks._paint") is None:
        report.notes.append("what the browser paints is not measured here")
        return report
    painted = importlib.import_module("benchmarks._paint").run(options)
    report.results += painted.results
    report.bars += painted.bars
    report.notes += painted.notes
    return report


def child() -> None:
    """The hour, in this process."""
    print(json.dumps(asyncio.run(_hour())))


async def _hour() -> dict[str, float]:
    from gpunb.server.hub import Hub
    from gpunb.server.threads import Pool

    ids = _sessions()
    hub = Hub(Path(tempfile.gettempdir()), supervise=False)
    watch = Pool("watch", 1)  # its connection sees the others' writes
    told = 0
    stuck = asyncio.Event()

    async def reads(_text: str) -> None:
        nonlocal told
        told += 1

    async def takes_nothing(_text: str) -> None:
        await stuck.wait()

    clients = [hub.feed.join(reads), hub.feed.join(takes_nothing)]
    tasks = [asyncio.ensure_future(client.serve()) for client in clients]
    begin, spent, looks = 0.0, 0.0, 0
    try:
        for second in range(HOUR_S + WARM_S):
            if second == WARM_S:
                begin, spent, looks, told = _memory(), 0.0, 0, 0
            for session_id in ids[second % SAMPLE_S :: SAMPLE_S]:
                hub.loads._take(session_id, _sample(second))  # noqa: SLF001 - as a host's note does
            if second % CHANGE_S == 0:
                await hub.quick.run(_change, hub, ids, second)
                used = time.process_time()
                await watch.run(hub.watcher.look)
                spent += time.process_time() - used
                looks += 1
            for _ in range(3):
                await asyncio.sleep(0)
        # what is still on its way
        for _ in range(200):
            await asyncio.sleep(0)
        grown = _memory() - begin
    finally:
        stuck.set()
        for client in clients:
            hub.feed.leave(client)
        await asyncio.gather(*tasks)
        watch.close()
        await asyncio.to_thread(hub.stop)
    return {"grown_mb": grown / 1e6, "look_ms": 1e3 * spent / looks, "events": float(told)}


def _sessions() -> list[str]:
    """As many sessions as ready ones of four clouds would be."""
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Lease, Segment, Session, SessionState

    ids = []
    with Ledger.open() as ledger:
        now = time.time()
        for number in range(SESSIONS):
            session = ledger.add_session(
                Session(
                    id=f"s{number:07}",
                    name=f"trainer-{number}",
                    provider=("vast", "deepinfra", "fluence", "sesterce")[number % 4],
                    label=f"gpunb-bench-{number}",
                    gpu="H100 SXM",
                    gpus=8,
                    usd_h=16.0,
                    lease=Lease(deadline=now + 86_400, idle_s=3600, budget_usd=400.0),
                )
            )
            for state in ("creating", "booting", "reachable", "ready"):
                session = ledger.transition(session, SessionState(state))
            ledger.open_segments([Segment(session_id=session.id, kind="gpu", rate=16.0, start=now)])
            ids.append(session.id)
    return ids


def _sample(second: int) -> dict[str, Any]:
    """What a host with eight GPUs tells."""
    gpu = {"name": "NVIDIA H100 80GB HBM3", "util": float(second % 100), "temp": 60.0, "power": 600.0}
    return {
        "k": "telemetry",
        "ts": float(second),
        "cpu": 50.0,
        "mem": [1e11, 2e12],
        "disk": [1e11, 2e12],
        "net": [1e6, 1e6],
        "gpus": [{**gpu, "i": str(index), "mem": [4e10, 8e10]} for index in range(8)],
    }


def _change(hub: Hub, ids: list[str], second: int) -> None:
    """What happens in some seconds: activity, a run that begins and ends, a job, a word."""
    from gpunb.server.ledger_watcher import notice
    from gpunb.sessions.model import RunNote, Transfer

    ledger, ident = hub.ledger(), ids[second % len(ids)]
    ledger.touch(ident)
    run = f"r{second:09}"
    ledger.add_run(RunNote(id=run, session_id=ident, name="cell"))
    ledger.finish_run(run, "ok")
    if second % 60 == 0:
        now = time.time()
        ledger.add_transfer(Transfer(session_id=ident, direction="up", bytes=1 << 20, started=now, ended=now))
        hub.feed.publish("notice", notice("info", f"second {second}", ident))
        done = hub.jobs.begin("transfer", ident, "sync data", _job, join=False)
        done.over.wait(60)


def _job(job: Job) -> None:
    for share in range(50):
        job.advance(share, 50, "files")


def _memory() -> float:
    import psutil

    gc.collect()
    return float(psutil.Process().memory_info().rss)
