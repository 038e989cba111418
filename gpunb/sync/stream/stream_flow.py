"""A sync through the agent: files go over one or more channels, or straight from host to host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import HostError, Unreachable
from gpunb.ssh import openssh_channel
from gpunb.sync.base_flow import Flow
from gpunb.sync.planning.estimate import choose, estimate
from gpunb.sync.stream import host_to_host as direct
from gpunb.sync.stream.engine import Stream
from gpunb.sync.stream.file_channel import FileChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sync.stream.host_tree import HostSide

__all__ = ["StreamFlow"]


class StreamFlow(Flow[Any]):
    """One attempt at a sync through the agent.

    Attributes
    ----------
    hosts
        Source and target, where both are hosts.
    apart
        Channels may have connections of their own.
    through
        Why nothing goes straight from host to host; "" if it may.
    """

    hosts: tuple[HostSide, HostSide] | None = None
    apart = True
    through = ""

    def __init__(self, *sides: Any, **facts: Any) -> None:
        super().__init__(*sides, **facts)
        self._apart: list[FileChannel] = []
        self._straight: list[direct.Link] = []

    def close(self) -> None:
        """Close the channels."""
        for line in self._apart:
            line.close()
        for link in self._straight:
            link.close()
        super().close()

    def choose(self) -> None:
        """Choose channels and compression."""
        report, ends = self.report, (self.source, self.target)
        rtt = max(side.rtt for side in ends)
        self.way = choose(
            rtt,
            report.plan,
            zstd=all(side.zstd for side in ends),
            rates=self.wish.rates,
            ssh=self.apart and openssh_channel.there(),
            down=not self.source.local,
        )
        report.engine, report.why = "stream", self.way.why
        report.estimate_s, report.estimate_usd = estimate(report.plan, rtt, self.way.lines, self.wish.rates)

    def move(self) -> None:
        """Move the content of the plan's files."""
        self.source.entered()
        self.target.entered()
        self._straight = self._connect()
        stream = Stream(self.report.plan, self.report, self._pair, self.wish, self.close)
        stream.run(len(self._straight) or self.way.lines)
        self.unkept.update(stream.unkept)

    def _connect(self) -> list[direct.Link]:
        """Open direct connections between two hosts, if possible; the report says whether it is direct."""
        report = self.report
        if self.hosts is None:
            return []
        why = self.through or ("" if self.wish.direct else "as asked")
        links: list[direct.Link] = []
        if not why:
            self.wish.progress.say("connecting the two hosts")
            try:
                links = direct.connect(*self.hosts, report.plan.total_bytes)
            except direct.NotDirect as err:
                why = str(err)
        if why:
            report.way = f"through this machine: {why}"
            return []
        report.way = report.why = f"straight from host to host over {len(links)} line{'s'[: len(links) > 1]}"
        return links

    def _pair(self, number: int) -> tuple[Any, Any, Callable[[], None]]:
        """Open the reader and the writer of one worker, and the function that closes them."""
        closers: list[Callable[[], None]] = []

        def line(side: HostSide) -> FileChannel:
            if self.way.apart:
                channel = self._line_apart(side)
                if channel is not None:
                    closers.append(channel.close)
                    return channel
            if number == 0:
                return side.line  # it is used again after the transfer
            channel = FileChannel(side.client, side.root)
            closers.append(channel.close)
            return channel

        codec = self.way.codec
        if self._straight:
            link = self._straight[number]
            return (*link.pair(codec), link.close)
        reader = self.source.reader(line, codec, follow=self.wish.follow)
        writer = self.target.writer(line, codec)
        closers.append(writer.close)

        def close() -> None:
            for closer in closers:
                closer()

        return reader, writer, close

    def _line_apart(self, side: HostSide) -> FileChannel | None:
        """Open a channel with its own connection; None if the host, or a proxy before it, refuses that."""
        try:
            channel = FileChannel(side.client, side.root, apart=True)
            self._apart.append(channel)
            channel.greet()
        except Unreachable:
            raise
        except HostError as err:
            log.get(__name__).info("no connection of its own for a line: %s", err.message)
            return None
        return channel
