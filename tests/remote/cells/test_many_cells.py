"""A session has more cells than a process may have open files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpunb.agent.daemon import spares
from gpunb.output import show
from gpunb.output.player import play_history
from tests.remote.conftest import Screen, wait_for

pytestmark = pytest.mark.slow

# what it does later is told by a file, since the next cells take the same stdout
TALKER = """
import threading, pathlib, builtins
go = threading.Event()
def late():
    go.wait(60)
    print("said late")
threading.Thread(target=late).start()
print("said at once")
"""


def test_files_do_not_stay_open_and_a_late_thread_is_still_heard(client, screen):
    first = client.run_cell(TALKER)
    show(first, screen)
    folder = Path(f"/proc/{client.info.pid}/fd")
    for _ in range(80):
        show(client.run_cell("pass"), screen)
    journals = [link for link in folder.iterdir() if link.is_symlink() and "/runs/" in str(link.readlink())]
    assert len(journals) <= 40
    last = client.run_cell("go.set()")
    show(last, screen)

    def heard():
        shown = Screen()
        for run in (first, last):  # ipykernel gives it to the newest cell, which has ended by then, or nearly
            play_history(client.attach(run.id), shown, client.run_info(run.id).last)
        return shown.text().count("said late") == 1

    wait_for(heard, 60.0)
    assert client.run_info(first.id).state == client.run_info(last.id).state == "ok"


def test_folders_made_ahead_are_used_and_run_out_without_harm(client, host, screen):
    runs = host.home / ".gpunb" / "runs"

    def ahead():
        return {
            path.name: path.stat().st_ino for path in runs.iterdir() if path.name.startswith(spares.PREFIX)
        }

    wait_for(lambda: len(ahead()) == spares.MOST, 60.0)
    made = set(ahead().values())
    handles = [client.run_cell(f"print({number})") for number in range(spares.MOST + 4)]
    for handle in handles:
        show(handle, screen)
    assert screen.text() == "".join(f"{number}\n" for number in range(spares.MOST + 4))
    taken = {(runs / handle.id).stat().st_ino for handle in handles}
    assert len(taken & made) >= spares.MOST - 1
    assert len(taken) == spares.MOST + 4
    with_all = [sorted(path.name for path in (runs / handle.id).iterdir()) for handle in handles]
    assert with_all == [["about.json", "journal"]] * len(handles)
    wait_for(lambda: len(ahead()) == spares.MOST, 60.0)


def test_a_disk_without_room_makes_no_spares(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    some = spares.Spares(str(tmp_path))
    monkeypatch.setattr(spares.os, "mkdir", full)
    some.fill()
    assert not some.take(str(tmp_path / "run"))
    monkeypatch.undo()
    some.fill()
    assert some.take(str(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["about.json", "journal"]
    again = spares.Spares(str(tmp_path))  # the next agent clears what the last one left
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not again.take(str(tmp_path / "other"))
