"""The host key is compared with what the cloud's own channel shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.clouds import simulated

from gpunb.commands.cli import invoke
from gpunb.errors import GpunbError
from gpunb.providers.vast import VastProvider
from gpunb.sessions import reach
from gpunb.sessions.ledger import Ledger
from gpunb.ssh import generate_host_key
from tests.support.supervisors import end_supervisors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
RENT = ["rent", "--cloud", "vast", "--name", "box", "--for", "30m", "--yes"]


@pytest.fixture
def vast(home: Path) -> Iterator[Any]:
    with simulated(("vast",)) as simulation:
        yield simulation["vast"]
        reach.close_all()
        end_supervisors(home)


def events(name: str) -> str:
    with Ledger.open() as ledger:
        session = next(one for one in ledger.sessions(alive=False) if one.name == name)
        return " ".join(str(one) for one in ledger.events(session.id))


def test_the_key_in_the_log_is_the_one_that_was_pinned(vast: Any) -> None:
    invoke(RENT)
    assert "its host key is the one in Vast.ai's log" in events("box")
    invoke(["down", "box", "--yes"])


def test_a_host_key_that_is_not_the_one_in_the_log_stops_the_rental(
    vast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = generate_host_key()[1]
    monkeypatch.setattr(VastProvider, "host_keys", lambda *_: [other])
    with pytest.raises(GpunbError, match="another SSH key than the one in Vast"):
        invoke(RENT)
    with Ledger.open() as ledger:
        assert ledger.sessions() == []


def test_without_a_log_the_first_contact_counts_and_the_events_say_so(
    vast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VastProvider, "host_keys", lambda *_: [])
    invoke(RENT)
    assert "its host key was taken at the first contact" in events("box")
    invoke(["down", "box", "--yes"])
