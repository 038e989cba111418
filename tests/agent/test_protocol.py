from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunb.agent.shared import frames as protocol
from gpunb.agent.shared.frames import Decoder, FrameError, encode, parts_of

heads = st.dictionaries(
    st.text(max_size=10), st.one_of(st.integers(), st.text(max_size=20), st.none()), max_size=5
)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), heads, st.lists(st.binary(max_size=200), max_size=3)), max_size=6
    ),
    st.integers(1, 64),
)
def test_frames_come_back_whatever_the_pieces(frames, step):
    stream = b"".join(encode({**head, "t": "x"}, parts, number) for number, head, parts in frames)
    decoder = Decoder()
    found = [
        (number, head, [bytes(part) for part in parts_of(head, payload)])
        for at in range(0, len(stream), step)
        for number, head, payload in decoder.feed(stream[at : at + step])
    ]
    assert [number for number, _, _ in found] == [number for number, _, _ in frames]
    assert [parts for _, _, parts in found] == [parts for _, _, parts in frames]
    assert decoder.pending == 0


@given(st.binary(max_size=400))
def test_any_bytes_end_in_frames_or_a_frame_error(data):
    decoder = Decoder(max_body=1000)
    try:
        for _, head, payload in decoder.feed(data):
            parts_of(head, payload)
    except FrameError:
        pass
    assert decoder.pending <= len(data)


def test_a_huge_claim_is_refused_before_it_is_read():
    with pytest.raises(FrameError, match="claims"):
        list(Decoder(max_body=100).feed(protocol.HEADER.pack(101, 0, 0)))


def test_a_flipped_bit_is_noticed():
    frame = bytearray(encode({"t": "res"}, [b"payload"]))
    frame[-1] ^= 1
    with pytest.raises(FrameError, match="checksum"):
        list(Decoder().feed(bytes(frame)))


@pytest.mark.parametrize(
    "text",
    [b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000],
    ids=["list", "torn", "binary", "deep", "deeper"],
)
def test_a_head_that_is_no_object_is_refused(text):
    body = struct.pack(">I", len(text)) + text
    with pytest.raises(FrameError):
        list(Decoder().feed(protocol.HEADER.pack(len(body), zlib.crc32(body), 0) + body))


@pytest.mark.parametrize("lengths", [[-1, 5], [3], ["4"], 4, [2, 3]])
def test_part_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(FrameError):
        parts_of({"b": lengths}, memoryview(b"abcd"))


def test_a_frame_over_the_limit_is_not_made():
    with pytest.raises(FrameError, match="limit"):
        encode({}, [bytes(protocol.MAX_BODY)])


def test_a_long_frame_is_read_over_and_the_next_ones_come() -> None:
    long = encode({"t": "rec", "k": "msg", "x": 1}, [b"p" * 3_000_000], 7)
    data = encode({"a": 1}) + long + encode({"a": 2}) + encode({"a": 3}, [b"xy"])
    for step in (1 << 24, 70_000, 4_097):
        decoder = Decoder(keep=1 << 20)
        found = []
        most = 0
        for at in range(0, len(data), step):
            found += decoder.feed(data[at : at + step])
            most = max(most, decoder.pending)
        assert [(number, head.get("a", head.get("x"))) for number, head, _ in found] == [
            (0, 1), (7, 1), (0, 2), (0, 3),
        ]  # fmt: skip
        assert found[1][1]["dropped"] > 3_000_000
        assert "b" not in found[1][1]
        assert len(found[1][2]) == 0
        assert bytes(found[3][2]) == b"xy"
        assert most <= step
    broken = bytearray(long)
    broken[-1] ^= 1
    with pytest.raises(FrameError, match="checksum"):
        list(Decoder(keep=1 << 20).feed(bytes(broken)))
