"""A sync by the stream engine, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.sync import sync

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from gpunb.sync import SyncReport

MB = 2**20
ways = pytest.mark.parametrize("direction", ["up", "down"])


def go(agent: AgentClient, source: object, target: object, direction: Any, **options: Any) -> SyncReport:
    return sync(agent.connection, str(source), str(target), direction=direction, agent=agent, **options)
