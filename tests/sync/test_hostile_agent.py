"""A host whose agent lies can't write outside of the target, nor fill the memory here."""

from __future__ import annotations

import json
import os
import struct
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.agent.shared import file_frames as wire
from gpunb.errors import ProtocolError, Unreachable
from gpunb.ssh.channel import Channel
from gpunb.sync import sync
from gpunb.sync.planning.plan import Item, Tree
from gpunb.sync.planning.rules import Rules
from gpunb.sync.stream.file_channel import FileChannel
from gpunb.sync.stream.host_files import HostReader, HostWriter, Refused
from gpunb.sync.stream.host_tree import HostSide
from tests.support.trees import shape

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd


class _Channel:
    """Says what a test wants, in awkward pieces."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += bytes(data)

    def recv(self, size: int) -> bytes:
        data, self._says = self._says[:7], self._says[7:]
        return data

    def recv_ready(self) -> bool:
        return bool(self._says)

    def close(self) -> None:
        pass


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return wire.FRAME.pack(len(body), kind[0]) + body


def line(*frames: bytes) -> FileChannel:
    found = FileChannel.__new__(FileChannel)
    found.channel = Channel(_Channel(b"".join(frames)), "the host")  # type: ignore[arg-type]
    found.rtt, found.stopped = 0.0, False
    found._rest, found._held, found._greeted = memoryview(b""), b"", True
    return found


def side(*frames: bytes) -> HostSide:
    found = HostSide.__new__(HostSide)
    found.line = line(*frames)
    found.alias, found._facts, found._entering, found.unkept = {}, {}, False, Counter()
    found._asked = deque()
    return found


def listing(path: bytes, *entries: tuple[Any, ...]) -> bytes:
    return frame(b"L", struct.pack(">HHH", len(path), 0, 0) + path + wire.pack_entries(list(entries)))


def file(name: bytes, size: int = 1) -> tuple[Any, ...]:
    return name, wire.FILE, 0o644, size, 5, b"", size, 7


@pytest.mark.parametrize(
    "name", [b"../evil", b"/etc/passwd", b"a/b", b"..", b".", b"", b"x\0y", b"n" * 256, b"../../evil"]
)
def test_names_that_lead_out_are_left_out(name: bytes) -> None:
    for entry in (
        file(name),
        (name, wire.FOLDER, 0o755, 0, 5, b"", 0, 7),
        (name, wire.LINK, 0o777, 0, 5, b"x", 0, 7),
    ):
        tree = Tree()
        found = list(side(listing(b"", entry, file(b"good")), frame(b"Z")).folders(Rules(None), tree))
        assert [entry[0] for _, entries in found for entry in entries] == ["good"]
        assert len(tree.left_out) == 1


def test_links_that_lead_out_and_special_files_are_left_out() -> None:
    goals = [b"/etc", b"../x", b"a/../../x", b"", b"x\0", b"y" * 5000]
    links = [(b"l%d" % n, wire.LINK, 0o777, 0, 5, goal, 0, 7) for n, goal in enumerate(goals)]
    special = [(b"s", wire.SPECIAL, 0o666, 0, 5, b"", 0, 7), (b"k", 77, 0o666, 0, 5, b"", 0, 7)]
    tree = Tree()
    found = list(side(listing(b"", *links, *special, file(b"ok")), frame(b"Z")).folders(Rules(None), tree))
    assert [entry[0] for _, entries in found for entry in entries] == ["ok"]
    assert len(tree.left_out) == len(goals) + 2


def test_folders_that_nobody_has_heard_of_are_passed_over() -> None:
    frames = [
        listing(b"", (b"d", wire.FOLDER, 0o755, 0, 5, b"", 0, 7), (b"l", wire.LINK, 0o777, 0, 5, b"d", 0, 7)),
        listing(b"../out", file(b"evil")), listing(b"/etc", file(b"evil")), listing(b"l", file(b"evil")),
        listing(b"d", file(b"good"), file(b"good")), listing(b"d", file(b"again")), frame(b"Z"),
    ]  # fmt: skip
    tree = Tree()
    found = dict(side(*frames).folders(Rules(None), tree))
    assert set(found) == {"", "d"}
    assert [entry[0] for entry in found["d"]] == ["good"]
    assert [out.rule for out in tree.left_out] == ["name that is listed twice"]


@pytest.mark.parametrize(
    "says",
    [
        frame(b"X", b"{}"),
        frame(b"L", b"\0"),
        frame(b"L", b"\0\1\0\0\0\0a" + b"\xff" * 9),
        b"\xff\xff\xff\xffL",
        b"\x7f\xff\xff\xffJ",
        frame(b"?"),
    ],
)
def test_bytes_that_are_no_listing(says: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(side(says).folders(Rules(None), Tree()))


def test_the_listing_of_another_folder_is_refused() -> None:
    host = side(listing(b"b", file(b"x")))
    host.ask("a")
    with pytest.raises(ProtocolError):
        host.take()


ITEM = Item("f", "file", 10, 5, 0o644)


def bundle(*contents: bytes, codec: int = 0, state: int = wire.AS_LISTED) -> bytes:
    body = b"".join(wire.CONTENT.pack(state, len(c), 0, 0) + c for c in contents)
    return frame(b"S", wire.squeeze(body, codec) if codec else b"\0" + body)


@pytest.mark.parametrize(
    "says",
    [
        bundle(b"9 bytes..."[:9]),
        bundle(b"11 bytes..."),
        bundle(b"10 bytes..", b"10 bytes.."),
        bundle(),
        bundle(b"x" * (wire.SMALL + 1), state=wire.NEWER),
        bundle(b"10 bytes..", state=9),
        frame(b"S", b"\1 this is not zlib"),
        frame(b"S", wire.squeeze(b"\0" * 50_000_000, wire.ZLIB)),
        frame(b"S", b"\x09" + b"x"),
        frame(b"S"),
        frame(b"P", b"\0x"),
    ],
)
def test_more_or_less_of_small_files_than_asked_for(says: bytes) -> None:
    with pytest.raises(ProtocolError):
        HostReader(line(says), {}, 0).small([ITEM])


@pytest.mark.parametrize(
    "says",
    [
        frame(b"P", b"\0" + b"x" * 11),
        frame(b"P", b"\0xx") + frame(b"R"),
        frame(b"P"),
        frame(b"P", b"\1not zlib"),
        frame(b"J", b"{}"),
        wire.FRAME.pack(2**31, ord("P")),
    ],
)
def test_more_or_less_of_a_range_than_asked_for(says: bytes) -> None:
    reader = HostReader(line(says), {}, 0)
    got = 0
    with pytest.raises(ProtocolError):
        for at, data in reader.pieces(ITEM, 0, 10):
            assert at == got
            got += len(data)
            assert got <= 10


def test_extents_digests_and_failures_that_make_no_sense() -> None:
    for extents in ([[5, 3]], [[-1, 2]], [[0, 5], [4, 6]], "x", [1], [[None, 2]]):
        body = json.dumps({"extents": extents}).encode()
        with pytest.raises(ProtocolError):
            HostReader(line(frame(b"J", body)), {}, 0).extents(ITEM)
    far = HostReader(line(frame(b"J", b'{"extents": [[0, 99999999999]]}')), {}, 0)
    assert far.extents(ITEM) == [(0, 10)]
    with pytest.raises(ProtocolError):
        HostReader(line(*[frame(b"H", b"d" * 1600)] * 3), {}, 0).digests(ITEM)
    with pytest.raises(Refused, match="no such file"):
        HostReader(line(frame(b"Z", b"no such file")), {}, 0).digests(ITEM)
    for said in (b"[9, 0, 1]", b"[]", b"x", b'{"a": 1}'):
        writer = HostWriter(line(frame(b"X", said)), 0)
        writer.confirm(lambda: None)
        with pytest.raises(ProtocolError):
            writer.settle()
    writer = HostWriter(line(frame(b"Q", b"\0\0\0\7")), 0)
    writer.confirm(lambda: None)
    with pytest.raises(ProtocolError):
        writer.settle()


def test_a_line_that_ends_in_the_middle() -> None:
    with pytest.raises(Unreachable):
        line(frame(b"L", b"x" * 100)[:50]).receive()


def test_an_agent_that_was_changed_on_the_host(agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
    """End to end: the agent's own code on the host lies in every listing."""
    (sshd.home / "out").mkdir()
    (sshd.home / "out/good").write_text("good")
    outside = tmp_path / "outside"
    outside.mkdir()
    (listing,) = sshd.home.glob(".gpunb/agent/*/gpunb_agent/shared/file_listing.py")
    content = listing.with_name("file_content.py")
    lie = f"""

_honest = list_folder

def list_folder(path):
    found = _honest(path)
    evil = [b"../outside/evil", {os.fsencode(outside)!r} + b"/evil", b".."]
    return found + [(n, FILE, 0o644, 4, 5, b"", 4, 7) for n in evil] + [
        (b"link", LINK, 0o777, 0, 5, b"../outside", 0, 7), (b"link", FOLDER, 0o755, 0, 5, b"", 0, 7)]
"""
    listing.write_text(listing.read_text() + lie)
    lie = """

def read_as_listed(fd, size, mtime, inode):
    return b"evil", 6 * 10**9
"""
    content.write_text(content.read_text() + lie)
    before = shape(outside)
    report = sync(agent.connection, "out", str(tmp_path / "t"), direction="down", agent=agent)
    assert {"../outside/evil", f"{outside}/evil", ".."} <= {out.path for out in report.plan.left_out}
    assert shape(outside) == before == {}
    assert {p.name for p in (tmp_path / "t").rglob("*")} <= {"good"}
    assert not (tmp_path / "evil").exists()
