"""The buffer of a channel, fed by one thread and read by another."""

from __future__ import annotations

import random
import threading

import pytest
from paramiko.buffered_pipe import PipeTimeout

from gpunb.ssh.receive_buffer import Pieces


def test_all_comes_out_once_and_in_order():
    rng, pipe = random.Random(3), Pieces()
    sent = [rng.randbytes(rng.randrange(0, 5000)) for _ in range(2000)]

    def feed():
        for one in sent:
            pipe.feed(one)
        pipe.close()

    thread = threading.Thread(target=feed)
    thread.start()
    got = bytearray()
    while piece := pipe.read(rng.randrange(1, 3000), 10.0):
        got += piece
    thread.join()
    assert got == b"".join(sent)
    assert len(pipe) == 0
    assert pipe.read(10, 0.0) == b""


def test_one_who_waits_is_told_that_nothing_came():
    pipe = Pieces()
    for timeout in (0.0, 0.01):
        with pytest.raises(PipeTimeout):
            pipe.read(1, timeout)
    assert not pipe.read_ready()


def test_the_event_says_whether_there_is_something():
    pipe, event = Pieces(), threading.Event()
    pipe.feed(b"abc")
    pipe.set_event(event)
    assert event.is_set()
    assert pipe.read(2) == b"ab"
    assert event.is_set()
    assert len(pipe) == 1
    assert pipe.read_ready()
    assert pipe.empty() == b"c"
    assert not event.is_set()
    pipe.feed(b"")
    assert not pipe.read_ready()
    pipe.close()
    assert event.is_set()
    late = threading.Event()
    pipe.set_event(late)
    assert late.is_set()
