"""The strategy of a sync (channels, compression) and its estimated time and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.agent.shared import file_frames as wire

if TYPE_CHECKING:
    from gpunb.sync.planning.plan import Plan

__all__ = ["Rates", "Strategy", "choose", "estimate"]

NEAR = 0.010  # seconds of round trip up to which one channel fills the connection
LINES = 8  # OpenSSH allows 10 sessions a connection, and the agent's own is one
WINDOW = 2 * 2**20  # bytes a round trip that OpenSSH takes on one channel
APART = 128 * 2**20  # bytes from which further connections are worth their setup
APART_RTT = NEAR  # ... and beyond which more channels are better: the network is the limit, not the CPU
APART_UP = False  # sending costs less CPU: channels are quicker
FILES_S = 8_000  # small files a second, written by one process


@dataclass(frozen=True, slots=True)
class Rates:
    """The known rates of a session's network traffic.

    Attributes
    ----------
    mb_s
        Megabytes a second in this direction, as the provider measured or states them.
    usd_per_gb
        Price of traffic in this direction; 0 where it is free.
    """

    mb_s: float | None = None
    usd_per_gb: float | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """The strategy: channels, compression, its description, and whether each has its own connection."""

    lines: int
    codec: int
    why: str
    apart: bool = False


def choose(
    rtt: float,
    plan: Plan,
    *,
    zstd: bool,
    rates: Rates | None = None,
    ssh: bool = False,
    down: bool = False,
) -> Strategy:
    """Choose how the stream engine carries `plan` over a connection with a round trip of `rtt` seconds.

    If this system has an `ssh`, a large download from a near host uses a
    connection for each channel, decrypted by that `ssh`: Python's own takes
    three times the CPU time for it, all on one core.

    With a short round trip one channel fills the connection, and more only use
    more cores; with a long one OpenSSH's window limits each channel.
    Compression pays where the network is slower than it: beyond 10 ms, or where
    the session's rate is known to be below 60 MB/s; each bundle or piece that
    does not shrink by a sixth goes as it is.
    """
    size, files = plan.total_bytes, len(plan.items)
    if rtt <= NEAR:
        lines = 1 if size < 4 * 2**20 and files < 500 else 2
    else:
        lines = min(LINES, 1 + max(size // 2**20, files // 500))
    slow = rates is not None and rates.mb_s is not None and rates.mb_s < 60
    far = rtt > NEAR and size <= 64 * 2**20  # much data over 8 channels is faster than zlib
    codec = wire.PLAIN
    if slow or far:
        codec = wire.ZSTD if zstd and wire.zstd() is not None else wire.ZLIB
    apart = (
        ssh and (down or APART_UP) and not slow and rtt <= APART_RTT and size - plan.replaced_bytes >= APART
    )
    packed = {wire.PLAIN: "", wire.ZLIB: ", zlib where it pays", wire.ZSTD: ", zstd where it pays"}[codec]
    away = "near" if rtt <= NEAR else f"{rtt * 1000:.0f} ms away"
    own = " with connections of their own" if apart else ""
    why = f"the agent is there, {away}: {lines} line{'s'[: lines > 1]}{own}{packed}"
    return Strategy(lines, codec, why, apart)


def estimate(plan: Plan, rtt: float, lines: int, rates: Rates | None) -> tuple[float | None, float | None]:
    """Estimate the seconds and dollars of carrying `plan`; None for what is not known."""
    if rates is None:
        return None, None
    usd = None if rates.usd_per_gb is None else plan.total_bytes / 1e9 * rates.usd_per_gb
    if not rates.mb_s:
        return None, usd
    held = lines * WINDOW / rtt if rtt > NEAR else float("inf")
    seconds = plan.total_bytes / min(rates.mb_s * 1e6, held) + len(plan.items) / FILES_S + 3 * rtt
    return seconds, usd
