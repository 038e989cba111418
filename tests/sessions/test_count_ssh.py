"""``--count-ssh``: somebody who is logged in at a terminal of the host is there, if the lease says so."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from gpunb.providers import OfferQuery
from gpunb.providers.local import LocalProvider
from gpunb.sessions import lifecycle
from gpunb.sessions.access import host_access
from gpunb.sessions.cost import lease
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import RentRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpunb.sessions.model import Session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs the processes of Linux"),
]


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger.open() as opened:
        yield opened
    host_access.close_all()


def until(fact: Callable[[], bool]) -> None:
    for _ in range(200):
        if fact():
            return
        time.sleep(0.05)
    raise AssertionError(fact)


def rent(ledger: Ledger, **more: bool) -> Session:
    cloud = LocalProvider()
    return lifecycle.rent(ledger, cloud, cloud.search(OfferQuery()), RentRequest(hours=1, **more))


def test_a_login_counts_only_where_that_was_asked_for(ledger: Ledger) -> None:
    session = rent(ledger)
    client = host_access.agent(session)
    channel = host_access.connection(session).transport.open_session()
    channel.get_pty()
    channel.invoke_shell()
    channel.send(b"echo here-I-am\n")
    until(lambda: b"here-I-am" in channel.recv(4096))
    assert client.lease()["busy"] is False
    pulse = host_access.HOST.pulse(session)
    assert pulse.logins is False
    assert pulse.net is not None

    session = lease.extend(ledger, session, count_ssh=True)
    assert session.armed.endswith("/ssh")
    assert client.lease()["busy"] is True
    assert host_access.HOST.pulse(session).logins is True
    channel.close()
    until(lambda: client.lease()["busy"] is False)
    lifecycle.down(ledger, LocalProvider(), session)


def test_a_program_without_a_terminal_and_one_that_left_it_are_nobody(ledger: Ledger) -> None:
    session = rent(ledger, count_ssh=True)
    assert session.lease.count_ssh
    client = host_access.agent(session)
    line = host_access.connection(session)
    # an editor's server: no terminal; and what nohup or tmux keep: the name, but not the terminal
    line.run("setsid sleep 30 >/dev/null 2>&1 &")
    line.run("SSH_TTY=/dev/pts/0 setsid sleep 30 >/dev/null 2>&1 &")
    assert client.lease()["busy"] is False
    lifecycle.down(ledger, LocalProvider(), session)
