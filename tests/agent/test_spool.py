from __future__ import annotations

import os

import pytest

from gpunb.agent.kernel import iopub_log
from gpunb.agent.kernel.iopub_log import Inlet, Outlet


@pytest.fixture
def ends(tmp_path):
    outlet, inlet = Outlet(str(tmp_path), str(tmp_path / "poke")), Inlet(str(tmp_path))
    yield outlet, inlet
    outlet.close()
    inlet.close()


def test_messages_come_out_as_they_went_in(ends):
    outlet, inlet = ends
    sent = [[b"a", b"", b"ccc"], [b"x" * 3_000_000], [memoryview(b"view"), bytearray(b"array")]]
    for parts in sent:
        outlet.send_multipart(parts)
    found = list(inlet.read())
    assert [parts for _, parts in found] == [[bytes(part) for part in parts] for parts in sent]
    assert list(inlet.read()) == []
    outlet.send_multipart([b"later"])
    assert [parts for _, parts in inlet.read()] == [[b"later"]]


def test_a_reading_left_in_the_middle_goes_on_there(ends):
    outlet, inlet = ends
    for at in range(10):
        outlet.send_multipart([b"%d" % at])
    found = []
    while len(found) < 10:
        for _, parts in inlet.read():
            found.append(parts[0])
            break
    assert found == [b"%d" % at for at in range(10)]
    assert list(inlet.read()) == []


def test_positions_grow_and_a_new_reader_starts_at_the_oldest(ends, tmp_path):
    outlet, inlet = ends
    for at in range(10):
        outlet.send_multipart([b"%d" % at])
    first = list(inlet.read())
    assert [position for position, _ in first] == sorted(position for position, _ in first)
    again = Inlet(str(tmp_path))
    assert list(again.read()) == first
    again.close()


def test_files_are_rotated_and_dropped_once_read(ends, tmp_path, monkeypatch):
    monkeypatch.setattr(iopub_log, "ROTATE", 1000)
    outlet, inlet = ends
    for at in range(100):
        outlet.send_multipart([b"%03d" % at * 20])
    assert len(iopub_log.numbers(str(tmp_path))) > 5
    found = [(position, parts[0][:3]) for position, parts in inlet.read()]
    assert [text for _, text in found] == [b"%03d" % at for at in range(100)]
    assert [position for position, _ in found] == sorted(position for position, _ in found)
    assert inlet.turned
    inlet.drop_read()
    assert len(iopub_log.numbers(str(tmp_path))) == 1


def test_a_full_disk_is_told_and_a_torn_message_never_stays(ends, monkeypatch):
    outlet, inlet = ends
    outlet.send_multipart([b"before"])
    real = os.write

    def full(fd, data):
        if len(data) > 60:
            real(fd, data[:9])
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    outlet.send_multipart([b"x" * 100])
    outlet.send_multipart([b"y" * 60, b"z" * 40])
    monkeypatch.undo()
    outlet.send_multipart([b"after"])
    found = [parts for _, parts in inlet.read()]
    assert [parts for parts in found if parts[0] != b"lost"] == [[b"before"], [b"after"]]
    assert sum(int(parts[1]) for parts in found if parts[0] == b"lost") == 200


def test_a_message_half_written_is_not_read_yet(ends, tmp_path):
    outlet, inlet = ends
    outlet.send_multipart([b"whole"])
    file = tmp_path / "out-000001"
    data = file.read_bytes()
    with file.open("ab") as half:
        half.write(data[:7])
        half.flush()
        assert [parts for _, parts in inlet.read()] == [[b"whole"]]
        half.write(data[7:])
    assert [parts for _, parts in inlet.read()] == [[b"whole"]]
