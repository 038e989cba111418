"""Instance rows of the simulated Vast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunb.sim.cloud import Machine, Phase
from gpunb.sim.vast.copies import copy_message

__all__ = ["FILTERABLE", "instance_row"]

#: Columns that the v1 list can be filtered by; the computed ones answer 400.
FILTERABLE = frozenset(
    {
        "id",
        "label",
        "actual_status",
        "gpu_name",
        "verification",
        "machine_id",
        "host_id",
        "image_uuid",
        "is_bid",
    }
)

_FROM_OFFER = [
    "machine_id",
    "host_id",
    "num_gpus",
    "gpu_name",
    "gpu_ram",
    "gpu_arch",
    "cuda_max_good",
    "driver_version",
    "cpu_name",
    "cpu_cores",
    "cpu_cores_effective",
    "cpu_ram",
    "inet_up",
    "inet_down",
    "inet_up_cost",
    "inet_down_cost",
    "disk_bw",
    "reliability2",
    "verification",
    "geolocation",
    "static_ip",
    "hosting_type",
    "storage_cost",
    "dlperf",
    "min_bid",
]


def instance_row(machine: Machine, now: float, *, boot_seconds: float) -> dict[str, Any]:
    """Return the full row, as in the v1 list and the single answer."""
    data = machine.data
    offer: Mapping[str, Any] = data["offer"]
    actual, current, wanted, message = _words(machine, now, boot_seconds)
    host, port = machine.address
    up = machine.shown in (Phase.RUNNING, Phase.OFFLINE)
    direct = "ssh_direc" in data["runtype"]
    jupyter = "jupyter" in data["runtype"]
    disk = data["disk_usd_h"]
    return {
        **{field: offer[field] for field in _FROM_OFFER},
        "id": int(machine.id),
        "label": machine.label or None,
        "actual_status": actual,
        "cur_state": current,
        "next_state": current,
        "intended_status": wanted,
        "status_msg": copy_message(machine, now) or message,
        "is_bid": data["is_bid"],
        "ssh_host": host,
        # where Jupyter runs, it has this port and SSH the next
        "ssh_port": port - 1 if jupyter else port,
        "ssh_idx": "4",
        "machine_dir_ssh_port": port,
        "public_ipaddr": f"{host}\n",
        "local_ipaddrs": "172.17.0.2 \n",
        "ports": (_ports(data, port if direct else None) or None) if up else None,
        "direct_port_start": -1,
        "direct_port_end": -1,
        "image_uuid": data["image"],
        "image_runtype": data["runtype"],
        "image_args": [],
        "dph_base": data["gpu_usd_h"],
        "dph_total": data["gpu_usd_h"] + disk,
        "storage_total_cost": disk,
        "disk_space": data["disk_gb"],
        "disk_usage": 3.1,
        "disk_util": -1.0,
        "gpu_util": 0.0 if up else None,
        "gpu_temp": 41.0 if up else None,
        "cpu_util": 0.0,
        "mem_usage": 0.5,
        "mem_limit": offer["cpu_ram"] / 1000,
        "vmem_usage": 0.0,
        "uptime_mins": (now - machine.phase_at) / 60 if up else None,
        "start_date": machine.created,
        "end_date": offer["end_date"],
        "duration": now - machine.created,
        "jupyter_token": "0" * 32,
        "extra_env": [[name, value] for name, value in data["env"].items()],
        "onstart": data["onstart"],
        "volume_info": data.get("volume_info"),
        "template_id": None,
        "template_hash_id": data.get("template"),
        "template_name": None,
        "credit_balance": machine.account.held.get(machine.id, 0.0),
        "credit_discount": data.get("discount", 0.0),
    }


def _ports(data: Mapping[str, Any], ssh: int | None) -> dict[str, list[dict[str, str]]]:
    """Return the ports of a row: SSH's where it is direct, and those asked for, for IPv4 and IPv6.

    The requested ports are open in each way of launching: dstack launches without Vast's SSH, and logs in
    by a port of its own. A request from 70000 on has the same number inside.
    """
    found = {} if ssh is None else {"22/tcp": ssh}
    for name, outside in data.get("ports", {}).items():
        number, _, protocol = name.partition("/")
        found[f"{outside}/{protocol}" if int(number) >= 70_000 else name] = outside
    hosts = ("0.0.0.0", "::")  # noqa: S104 - docker's own format
    return {
        name: [{"HostIp": host, "HostPort": str(outside)} for host in hosts]
        for name, outside in found.items()
    }


def _words(  # noqa: PLR0911 - one return a phase
    machine: Machine, now: float, boot_seconds: float
) -> tuple[str | None, str, str, str]:
    """Return actual_status, cur_state, intended_status and status_msg."""
    phase = machine.shown
    wanted = machine.data["wanted"]
    if phase is Phase.BOOTING:
        if machine.data.get("rebooting"):
            return machine.data["rebooting"], "running", wanted, ""
        # at first there is no status at all; then it stays until the instance runs (base-image#220)
        early = now < machine.created + boot_seconds / 10
        return (None if early else "loading"), "running", wanted, "" if early else "Pulling fs layer"
    if phase is Phase.RUNNING:
        return "running", "running", wanted, "success, running"
    if phase is Phase.OUTBID:
        return "stopped", "stopped", "running", "outbid by a higher bid"
    if phase is Phase.OFFLINE:
        return "offline", "running", wanted, "machine lost contact"
    if phase is Phase.FAILED:
        return "created", "running", wanted, f"Error response from daemon: {machine.fail_reason}"
    if phase is Phase.STOPPED:
        return "stopped", "stopped", wanted, machine.data.get("stop_reason", "")
    return "stopped", "stopped", "destroyed", ""
