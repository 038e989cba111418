"""A channel's descriptors, handed from the process that has them to the one that uses them."""

from __future__ import annotations

import os
import socket
import threading

import psutil
import pytest

from gpunb.agent.shared import bulk_channel
from gpunb.agent.shared.bulk_channel import BulkLine, room


@pytest.fixture
def listening(tmp_path):
    path = str(tmp_path / "b")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen(1)
        yield server, path


def lent(server, ends):
    """As `bulk_channel.lend` does in a process of its own, whose stdin and stdout are `ends`."""

    def work():
        line, _ = server.accept()
        with line:
            socket.send_fds(line, [b"+"], ends)
            line.recv(1)
        for end in set(ends):
            os.close(end)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", ["pipes", "a socket"])
def test_both_ways_and_the_process_is_told_of_the_end(listening, kind):
    server, path = listening
    if kind == "pipes":
        (inward, far_out), (far_in, outward) = os.pipe(), os.pipe()
    else:
        near, far = socket.socketpair()
        inward = outward = near.detach()
        far_in, far_out = os.dup(far.fileno()), far.detach()
    thread = lent(server, (inward, outward))
    line = BulkLine(path)
    data = os.urandom(3 << 20)
    writer = threading.Thread(target=line.sendall, args=(memoryview(data),))
    writer.start()
    got = bytearray()
    while len(got) < len(data):
        got += os.read(far_in, 1 << 16)
    writer.join()
    assert got == data
    os.write(far_out, b"hello")
    view = memoryview(bytearray(10))
    assert line.recv_into(view) == 5
    assert bytes(view[:5]) == b"hello"
    os.close(far_out)
    if kind == "pipes":
        assert line.recv_into(view) == 0
    line.close()
    thread.join(10)
    assert not thread.is_alive()
    os.close(far_in)


def test_a_process_that_ends_first_and_one_that_stands_still(listening, monkeypatch):
    server, path = listening

    def hang_up():
        server.accept()[0].close()

    gone = threading.Thread(target=hang_up)
    gone.start()
    with pytest.raises(EOFError, match="ended"):
        BulkLine(path)
    gone.join()
    monkeypatch.setattr(bulk_channel, "PATIENCE", 0.05)
    inward, far = os.pipe()
    thread = lent(server, (inward, os.dup(inward)))
    line = BulkLine(path)
    with pytest.raises(TimeoutError, match="stood still"):
        line.recv_into(memoryview(bytearray(1)))
    line.close()
    thread.join(10)
    os.close(far)


def test_large_rooms_are_not_taken_before_they_are_filled():
    before = psutil.Process().memory_info().rss
    huge = room(1 << 31)
    assert len(huge) == 1 << 31
    huge[5:8] = b"abc"
    assert huge[4:9] == b"\0abc\0"
    assert psutil.Process().memory_info().rss - before < 100 << 20
    huge.close()
    assert room(3) == bytearray(3)
