"""A host's report of its runs, logins and traffic, which nothing here trusts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.remote import RunInfo

__all__ = ["Pulse", "traffic"]


@dataclass(frozen=True, slots=True)
class Pulse:
    """A host's untrusted report of its runs, logins and traffic; `activity.observe` decides what counts.

    Attributes
    ----------
    runs
        All runs that it lists, by id, also those not started from here.
    logins
        Whether a user is logged in at a terminal; false where the lease does not count that.
    net
        Bytes that the host's interface has received and sent since it started.
    """

    runs: Mapping[str, RunInfo] = field(default_factory=dict)
    logins: bool = False
    net: tuple[int, int] | None = None


def traffic(told: object) -> tuple[int, int] | None:
    """The received and sent bytes of a host's untrusted answer; None if malformed."""
    if isinstance(told, (list, tuple)) and len(told) == 2:
        received, sent = told
        if all(type(one) is int and 0 <= one < 2**60 for one in (received, sent)):
            return received, sent
    return None
