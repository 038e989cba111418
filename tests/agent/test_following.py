"""What a follower is sent of a journal that another process writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gpunb.agent.daemon.runs import Follower, Run
from gpunb.agent.shared import folders
from gpunb.agent.shared.frames import Decoder
from gpunb.agent.shared.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(folders, "runs", lambda: str(tmp_path))
    return Run.create({"id": "abcd1234", "kind": "job", "name": "train"}, make_journal=False)


def test_nobody_is_told_of_an_end_that_the_agent_has_not_noticed(job: Run) -> None:
    """Else the client shows the end, asks, and hears that the run goes on."""
    keeper = Journal(job.path, job.id)
    keeper.append({"k": "start", "kind": "job", "name": "train"})
    job.refresh()
    keeper.append({"k": "note", "text": "x"})
    keeper.append({"k": "end", "state": "ok", "exit": 0, "why": ""})
    keeper.close()
    told: list[tuple[str, bool]] = []

    async def send(data: bytes) -> None:
        told.extend((head["k"], job.over) for _, head, _ in Decoder().feed(data))

    async def go() -> None:
        following = asyncio.ensure_future(Follower(job, 0, 1 << 20, send).follow())
        for _ in range(200):
            await asyncio.sleep(0.005)
            if told:
                break
        await asyncio.sleep(0.02)
        assert told == [("start", False)]
        job.refresh()
        await asyncio.wait_for(following, 10)

    asyncio.run(go())
    assert told == [("start", False), ("note", True), ("end", True)]
