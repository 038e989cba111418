"""Ports that a rented machine opens to the world: their notation and their addresses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MOST", "SSH", "address", "links", "split", "wanted"]

#: With SSH's own, all that a container of Vast.ai can open, the clouds' largest number.
MOST = 64
SSH = "22/tcp"
_FIRST_SAME = 70_000  # from here on the number only requests the same one outside as inside (Vast.ai)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]")


def split(given: object) -> tuple[int, str]:
    """Parse ``8000``, ``8000/tcp`` or ``8000/udp`` to number and protocol; ``80/http`` is Fluence's alone.

    Raises
    ------
    BadInput
        It is something else.
    """
    found = re.fullmatch(r"([0-9]{1,6})(?:/(tcp|udp|http))?", str(given).strip().lower())
    number = int(found[1]) if found else 0
    if not found or not (0 < number < 65_536 or _FIRST_SAME <= number < 100_000):
        msg = f"port {clean(given, 40)!r} must be 1 to 65535, such as 8000, 8000/tcp or 8000/udp"
        hint = "on Vast.ai, numbers from 70000 on ask for a port with the same number outside and inside"
        raise BadInput(msg, bill="nothing was rented", hint=hint)
    return number, found[2] or "tcp"


def same(given: Iterable[object]) -> bool:
    """Return whether one of the ports is a number that only asks for the same one outside as inside."""
    return any(split(one)[0] >= _FIRST_SAME for one in given)


def wanted(given: Iterable[object]) -> tuple[str, ...]:
    """Return the ports beside SSH's own as ``8000/tcp``, each once.

    Raises
    ------
    BadInput
        One is none, or they are more than any cloud opens.
    """
    found = dict.fromkeys("{}/{}".format(*split(one)) for one in given)
    found.pop(SSH, None)
    if len(found) >= MOST:
        msg = f"ports: {len(found)} and SSH's own are more than the {MOST} that a container can open"
        raise BadInput(msg, bill="nothing was rented")
    return tuple(found)


def address(host: object, port: object) -> str:
    """Return ``host:port``, or "" for an invalid answer of the cloud: it becomes a link in the notebook."""
    text, number = str(host).strip(), str(port).strip()
    if ":" in text and not text.startswith("["):
        text = f"[{text}]"
    good = _HOST.fullmatch(text) and number.isascii() and number.isdecimal() and 0 < int(number) < 65_536
    return f"{text}:{int(number)}" if good else ""


def links(found: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return name and address of each open port: a URL to open, or the plain address for UDP."""
    return [
        (name, at if name.endswith("/udp") else f"http://{at}")
        for name, at in sorted(found.items(), key=lambda pair: split(pair[0]))
    ]
