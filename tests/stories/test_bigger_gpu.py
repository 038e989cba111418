"""Bigger GPU: a session with files and variables goes to another machine under its name; one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rentals.clouds import simulated
from support.rentals.supervisors import end_supervisors
from support.story import Terminal

from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WORK = "import os; os.makedirs('proj'); open('proj/model.txt', 'w').write('half trained'); epoch = 3"


def test_bigger_gpu(home: Path, tmp_path: Path) -> None:
    before, user, after = Terminal(tmp_path), Terminal(tmp_path), Terminal(tmp_path)
    with simulated(["vast"]) as simulation:
        rented = before.type("gpunb rent --cloud vast --gpu 4090 --name train --for 3h --yes")
        assert rented.code == 0, rented.err
        assert before.type(f'gpunb cell -c "{WORK}"').code == 0

        moved = user.type("gpunb move train --gpu H100 --yes")
        assert moved.code == 0, moved.err
        assert "train is on" in moved.out
        assert "H100" in moved.out
        assert "receipt: train-was" in moved.out

        asked = "gpunb cell -c \"print(epoch + 1, open('proj/model.txt').read())\""
        assert after.type(asked).out == "4 half trained\n"
        with Ledger.open() as ledger:
            (now,) = ledger.sessions()
        assert (now.name, "H100" in now.gpu) == ("train", True)
        running = [one for one in simulation["vast"].machines.values() if one.phase.name == "RUNNING"]
        assert len(running) == 1, "one bill"
        assert after.type("gpunb down train --yes").code == 0
        end_supervisors(home)
    assert (len(user.typed), user.decisions) == (1, 1)
