"""Mapping of Vast's instance rows: state, SSH address, cost.

Vast has four fields for one state (``actual_status``, ``cur_state``,
``next_state``, ``intended_status``); which of them counts when is taken from
the published ``vastai`` client and from dstack's Vast backend.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from pydantic import Field

from gpunb.providers.base import Instance, InstanceState
from gpunb.providers.edge.payload import Wire, parse
from gpunb.providers.edge.text import clean
from gpunb.providers.machine import ports
from gpunb.providers.vast.offers import HOURS_A_MONTH

__all__ = ["InstanceRow", "endpoints", "map_instance", "open_ports", "state"]

_log = logging.getLogger("gpunb.providers.vast")

# Messages of the daemon when a container can never start (dstack's fatal test, and docs' troubleshooting).
_FATAL = re.compile(
    r"OCI runtime create failed|Unable to find image|manifest unknown|manifest for .* not found|"
    r"pull access denied|repository does not exist|no space left on device|no matching manifest|"
    r"port is already allocated",
    re.IGNORECASE,
)
_OUTBID = re.compile(r"\boutbid\b", re.IGNORECASE)


class InstanceRow(Wire):
    """One instance of ``GET /api/v1/instances/`` or ``GET /api/v0/instances/{id}/``."""

    id: int
    label: str = ""
    machine_id: int | None = None
    actual_status: str | None = None
    cur_state: str | None = None
    next_state: str | None = None
    intended_status: str | None = None
    status_msg: str = ""
    is_bid: bool | None = None
    ssh_host: str = ""
    ssh_port: int = 0
    public_ipaddr: str = ""
    ports: dict[str, Any] = Field(default_factory=dict)
    image_runtype: str = ""
    image_uuid: str | None = None
    dph_total: float | None = None
    dph_base: float | None = None
    disk_space: float | None = None
    storage_cost: float | None = None
    storage_total_cost: float | None = None
    start_date: float | None = None
    end_date: float | None = None


def map_instance(raw: Any, *, connection: str = "auto") -> Instance:
    """Convert one row to an `Instance`.

    Parameters
    ----------
    connection
        "direct", "proxy", or "auto": direct where the host has a port for it.
    """
    row = parse(InstanceRow, raw, provider="vast", what="an instance")
    now, words, message = state(row)
    ways = endpoints(row, connection)
    host, port = ways[0] if ways and now is InstanceState.RUNNING else ("", 0)
    disk = _disk_usd_h(row)
    running = row.dph_total if row.dph_total is not None else (row.dph_base or 0.0) + disk
    return Instance(
        provider="vast",
        id=str(row.id),
        label=clean(row.label, 1024),
        state=now,
        raw_state=words,
        message=message,
        host=host,
        port=port,
        user="root" if host else "",
        usd_h=max(running, 0.0),
        stopped_usd_h=disk,
        ports=open_ports(row),
        ends=row.end_date if row.end_date and row.end_date > 0 else None,
        rental="spot" if row.is_bid else "on-demand",
        kind="container",
        image=clean(row.image_uuid or "", 255),
        created=row.start_date,
        raw=raw,
    )


def endpoints(row: InstanceRow, connection: str = "auto") -> list[tuple[str, int]]:
    """List the addresses of its SSH server, best first; each host with its own port.

    A direct port goes with ``public_ipaddr`` (which may end in a line end),
    the proxy's with ``ssh_host``. The proxy's is one higher than ``ssh_port``
    where Jupyter took that one (vastai 1.9.1 ``ssh-url``; vast-cli#79).
    """
    out: list[tuple[str, int]] = []
    address = row.public_ipaddr.strip()
    mapped = row.ports.get("22/tcp")
    if connection != "proxy" and address and isinstance(mapped, list):
        for binding in mapped:
            port = _port(binding.get("HostPort")) if isinstance(binding, dict) else 0
            if port:
                out.append((clean(address, 255), port))
                break
    proxy = row.ssh_host.strip()
    if connection != "direct" and proxy and _port(row.ssh_port):
        shift = 1 if "jupyter" in row.image_runtype else 0
        out.append((clean(proxy, 255), row.ssh_port + shift))
    return out


def open_ports(row: InstanceRow) -> dict[str, str]:
    """The mapped ports beside SSH's, ``{"8000/tcp": "203.0.113.7:40512"}``; also of the image's EXPOSE."""
    result: dict[str, str] = {}
    for name, bindings in row.ports.items():
        known = re.fullmatch(r"[0-9]{1,5}/(tcp|udp)", name)
        if not known or name == ports.SSH or not isinstance(bindings, list):
            continue
        outside = next((binding.get("HostPort") for binding in bindings if isinstance(binding, dict)), None)
        if at := ports.address(row.public_ipaddr, outside):
            result[name] = at
    return result


def state(row: InstanceRow) -> tuple[InstanceState, str, str]:  # noqa: PLR0911 - one return a state of Vast's
    """Return the state in gpunb's terms, Vast's own terms, and a sentence where they need one."""
    actual, current, wanted = row.actual_status, row.cur_state, row.intended_status
    words = actual or "provisioning"
    if wanted and current and wanted != current:
        words = f"{words} ({current}, to be {wanted})"
    message = clean(row.status_msg, 300)
    for word in (wanted, current, row.next_state):
        if word in ("destroyed", "deleted", "destroying", "deleting"):
            return InstanceState.ENDING, words, message
    if current == "stopped" and actual not in ("running", "offline", "unknown", "frozen"):
        return _stopped(row, words, message)
    if actual in (None, "created", "loading"):
        if _FATAL.search(row.status_msg):
            return InstanceState.FAILED, words, message
        return InstanceState.CREATING, words, message
    if actual in ("rebooting", "recycling", "connecting"):
        return InstanceState.CREATING, words, message
    if actual == "scheduling":
        return InstanceState.STOPPED, words, "waits for its GPU; another customer may have rented it"
    if actual == "frozen":
        return InstanceState.UNKNOWN, words, message or "frozen: nothing runs, and the GPU is still billed"
    found = {
        "running": InstanceState.RUNNING,
        "stopped": InstanceState.STOPPED,
        # some seconds after a start or a reboot it still has the old state; `VastProvider` waits that long
        "exited": InstanceState.CREATING if wanted == "running" else InstanceState.STOPPED,
        "offline": InstanceState.OFFLINE,
        "unknown": InstanceState.UNKNOWN,
    }.get(actual)
    if found is None:
        _log.warning(
            "vast: instance %d: actual_status %s is not a known state", row.id, clean(repr(actual), 60)
        )
        return InstanceState.UNKNOWN, clean(words, 60), message
    return found, words, message


def _stopped(row: InstanceRow, words: str, message: str) -> tuple[InstanceState, str, str]:
    """Return the state of a stopped instance: stopped by us, outbid, or waiting for a GPU."""
    if row.is_bid and (row.intended_status == "running" or _OUTBID.search(row.status_msg)):
        return InstanceState.INTERRUPTED, words, message or "outbid: it goes on when its bid is the highest"
    if row.intended_status == "running":
        return InstanceState.STOPPED, words, "waits for its GPU; another customer may have rented it"
    return InstanceState.STOPPED, words, message


def _disk_usd_h(row: InstanceRow) -> float:
    if row.storage_total_cost is not None:
        return max(row.storage_total_cost, 0.0)
    return max((row.disk_space or 0.0) * (row.storage_cost or 0.0) / HOURS_A_MONTH, 0.0)


def _port(value: object) -> int:
    try:
        port = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return 0
    return port if 0 < port < 65536 else 0
