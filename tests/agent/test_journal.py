from __future__ import annotations

import os

import pytest

from gpunb.agent.shared.journal import Journal, Reader, joined


def read(path, offset=0):
    reader = Reader(path)
    try:
        return [(n, head["k"], [bytes(payload)]) for n, head, payload, _ in reader.frames(offset)]
    finally:
        reader.close()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "journal")


def test_records_are_numbered_and_read_back(path):
    journal = Journal(path, "run1")
    for at in range(1, 6):
        assert journal.append({"k": "stream"}, [b"x" * at]) == at
    journal.close()
    assert [(n, len(p[0])) for n, _, p in read(path)] == [(n, n) for n in range(1, 6)]


def test_a_reader_starts_after_any_number(path):
    journal = Journal(path, "run1")
    for at in range(50):
        journal.append({"k": "stream"}, [os.urandom(at * 100)])
    reader = Reader(path)
    for after in (0, 1, 17, 49, 50, 99):
        assert [n for n, *_ in read(path, reader.after(after))] == list(range(after + 1, 51))
    reader.close()
    journal.close()


def test_a_read_gives_whole_frames_and_at_least_one(path):
    journal = Journal(path, "run1")
    journal.append({"k": "a"}, [b"x" * 100_000])
    journal.append({"k": "b"})
    reader = Reader(path)
    first = reader.read(0, 1000)
    assert len(first) > 100_000
    assert len(reader.read(len(first))) == journal.size - len(first)
    reader.close()
    journal.close()


@pytest.mark.parametrize("cut", [1, 5, 15, 16, 40, 100])
def test_a_torn_record_is_cut_off_and_numbers_go_on(path, cut):
    journal = Journal(path, "run1")
    journal.append({"k": "a"})
    whole = journal.size
    journal.append({"k": "b"}, [b"y" * 100])
    journal.close()
    os.truncate(path, whole + cut)
    assert [k for _, k, _ in read(path)] == ["a"]
    again = Journal(path, "run1")
    assert (again.last, again.size) == (1, whole)
    assert again.append({"k": "c"}) == 2
    again.close()
    assert [(n, k) for n, k, _ in read(path)] == [(1, "a"), (2, "c")]


def test_a_damaged_record_ends_the_reading(path):
    journal = Journal(path, "run1")
    for kind in "abc":
        journal.append({"k": kind}, [b"0123456789"])
    middle = journal.size // 2
    journal.close()
    with open(path, "r+b") as file:
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([byte[0] ^ 0xFF]))
    assert [k for _, k, _ in read(path)] == ["a"]


def test_nothing_of_a_record_stays_when_the_disk_is_full(path, monkeypatch):
    journal = Journal(path, "run1")
    journal.append({"k": "a"})
    real, calls = os.pwrite, []

    def full(fd, data, offset):
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(fd, data[:7], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        journal.append({"k": "b"}, [b"z" * 100])
    monkeypatch.undo()
    assert os.path.getsize(path) == journal.size
    assert journal.append({"k": "c"}) == 2
    journal.close()
    assert [k for _, k, _ in read(path)] == ["a", "c"]


def test_segments_of_one_stream_are_merged_in_order():
    head, parts = joined([("stdout", b"a"), ("stdout", b"bc"), ("stderr", b"d"), ("stdout", b"e")])
    assert head["seg"] == [["stdout", 3], ["stderr", 1], ["stdout", 1]]
    assert b"".join(parts) == b"abcde"


def test_trimming_keeps_beginning_and_end_and_names_the_rest(path, monkeypatch):
    monkeypatch.setattr("gpunb.agent.shared.journal.KEEP_HEAD", 2_000)
    journal = Journal(path, "run1")
    for at in range(100):
        journal.append({"k": "stream"}, [b"%03d" % at * 100])
    before = journal.size
    reader = Reader(path)
    journal.trim(5_000, "too long")
    assert reader.moved()
    reader.close()
    assert journal.size < before / 4
    found = list(read(path))
    kinds = [kind for _, kind, _ in found]
    assert kinds.count("trimmed") == 1
    cut = kinds.index("trimmed")
    assert 0 < cut < len(found) - 5
    numbers = [n for n, _, _ in found]
    assert numbers[:cut] == list(range(1, cut + 1))
    assert numbers[cut:] == list(range(numbers[cut], 101))
    assert journal.append({"k": "end"}) == 101
    journal.close()
    assert Journal(path, "run1").last == 101


def test_trimming_again_swallows_the_first_mark(path, monkeypatch):
    monkeypatch.setattr("gpunb.agent.shared.journal.KEEP_HEAD", 500)
    journal = Journal(path, "run1")
    for _ in range(3):
        for _ in range(50):
            journal.append({"k": "stream"}, [b"x" * 300])
        journal.trim(2_000, "too long")
    reader = Reader(path)
    marks = [(n, head["from"]) for n, head, *_ in reader.frames() if head["k"] == "trimmed"]
    reader.close()
    assert len(marks) == 1
    assert marks[0][1] <= 3
    journal.close()


def test_a_journal_over_its_limit_trims_itself(path, monkeypatch):
    monkeypatch.setattr("gpunb.agent.shared.journal.LIMIT", 100_000)
    monkeypatch.setattr("gpunb.agent.shared.journal.KEEP_HEAD", 1_000)
    journal = Journal(path, "run1")
    for at in range(1000):
        journal.append({"k": "stream"}, [b"%04d" % at * 100])
        assert os.path.getsize(path) < 101_000
    assert read(path)[-1][0] == 1000
    journal.close()


def test_no_room_for_the_copy_leaves_the_journal_as_it_was(path, monkeypatch):
    journal = Journal(path, "run1")
    for _ in range(100):
        journal.append({"k": "stream"}, [b"x" * 100])
    before = read(path)
    monkeypatch.setattr("gpunb.agent.shared.journal.KEEP_HEAD", 100)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpunb.agent.shared.journal._copy_range", full)
    with pytest.raises(OSError, match="No space"):
        journal.trim(1_000, "too long")
    monkeypatch.undo()
    assert read(path) == before
    assert os.listdir(os.path.dirname(path)) == ["journal"]
    journal.append({"k": "end"})
    journal.close()
