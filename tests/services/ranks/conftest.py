"""A group of three real instances of this machine, each behind a line that can be broken."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.machines.proxy import Proxy
from support.rentals.supervisors import end_supervisors

import gpunb
from gpunb.python_api import process_end
from gpunb.python_api.frontend import PythonFrontend
from gpunb.services.ranks import lookup
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.services.ranks.members import Members


class Team:
    """The members, and the line to each."""

    def __init__(self, members: Members, proxies: dict[int, Proxy]) -> None:
        self.members = members
        self.proxies = proxies


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    short = Path(tempfile.mkdtemp(prefix="gpnb", dir="/tmp"))
    proxies: dict[int, Proxy] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNB_HOME", str(short / "home"))
        patch.setenv("JUPYTER_DATA_DIR", str(short / "jupyter"))
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        patch.chdir(short)
        try:
            with Ledger.open() as ledger:
                ledger.lead("detached", 3600.0)
                with ThreadPoolExecutor(3) as pool:
                    made = list(pool.map(lambda rank: gpunb.rent(hours=1, name=f"team-{rank}"), range(3)))
                for rank in range(3):
                    session = ledger.find(f"team-{rank}")
                    proxies[rank] = Proxy(session.port)
                    change = "UPDATE sessions SET port = ?, name = ?, group_id = 'g', rank = ? WHERE id = ?"
                    with ledger._write() as db:
                        db.execute(change, (proxies[rank].port, f"team.{rank}", rank, session.id))
                with ledger._write() as db:
                    db.execute(
                        "INSERT INTO groups (id, name, wanted, at_least, created, formed) "
                        "VALUES ('g', 'team', 3, 3, 1, 2)"
                    )
            with PythonFrontend() as context:
                members = lookup.find(context, "team")
            assert members is not None
            yield Team(members, proxies)
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda session: session.down(), made))
            for session in made:
                process_end.left(session)
        finally:
            from gpunb.providers.local import LocalProvider

            host_access.close_all()
            end_supervisors(short / "home")
            for proxy in proxies.values():
                proxy.close()
            os.environ["GPUNB_HOME"] = str(short / "home")
            provider = LocalProvider()
            for instance in provider.instances():
                provider.destroy(instance.id)
            shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def context(team: Team) -> Iterator[PythonFrontend]:
    with PythonFrontend() as found:
        yield found
