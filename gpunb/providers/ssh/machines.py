"""What a machine is and what of it is free: the answers of the probe, as an offer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.providers.features import Gpu, Host, Machine
from gpunb.providers.models import Offer
from gpunb.providers.ssh.record import leftover

if TYPE_CHECKING:
    from collections.abc import Container

    from gpunb.providers.models import OfferQuery
    from gpunb.providers.ssh.answers import Answer
    from gpunb.providers.ssh.openssh import Route

__all__ = ["offer", "seen"]

NAME = "ssh"


def offer(machine: Machine, query: OfferQuery) -> Offer | None:
    """The offer of it, as many GPUs as the query takes; None if all that it has are taken."""
    host, free = machine.host, machine.free
    given = free if query.count_max is None else free[: query.count_max]
    if len(given) < query.count_min or (machine.gpus and not free and host.gpus != ()):
        return None
    if query.count_min and query.count_max is None and not query.gpus:
        given = free
    # GPUs of one model go together
    given = [gpu for gpu in given if gpu.name == given[0].name]
    share = len(given) / len(machine.gpus) if given and machine.gpus else 1.0
    return Offer(
        provider=NAME,
        id=host.name,
        gpu=given[0].name.removeprefix("NVIDIA ").strip() if given else "",
        gpu_raw=given[0].name if given else "",
        gpus=len(given),
        vram_gb=min((gpu.vram_gb for gpu in given), default=0.0),
        usd_h=round(host.price_usd_h * share, 6),
        disk_sized=False,
        disk_included_gb=machine.disk_gb,
        disk_max_gb=machine.disk_gb,
        bills_offline=False,
        kind="bare-metal",
        region=", ".join(host.tags),
        cpu=machine.cpu,
        cores=machine.cores,
        ram_gb=machine.ram_gb,
        trust=host.trust,
        machine_id=host.name,
        host_id=machine.reached,
        proxy=machine.proxy,
        raw={
            "given": [gpu.number for gpu in given] if machine.gpus else None,
            "tags": list(host.tags),
            "left": list(machine.left),
        },
    )


def seen(host: Host, route: Route, answer: Answer, known: Container[str]) -> Machine:
    """Read the probe's answers; `known` are the ids of the instances that are recorded here."""
    left, sessions = [], []
    for one in (_about(text) for text in answer.all("session")):
        if leftover(one["id"], one["label"], one["by"], known):
            left.append((one["id"], one["label"]))
        else:
            sessions.append((one["label"] or "a session", one["gpus"].split(",")))
    by_session = {int(at): label for label, numbers in sessions for at in numbers if at.isdigit()}
    used = {uuid.strip() for uuid in answer.all("used")}
    gpus = []
    for line in answer.all("gpu"):
        fields = [one.strip() for one in line.split(",")]
        if len(fields) < 4 or not fields[0].isdigit():
            continue
        number, uuid, name = int(fields[0]), fields[1], ", ".join(fields[2:-1])
        gpu = Gpu(number=number, name=name, vram_gb=_gb(fields[-1]))
        if number in by_session:
            gpu = replace(gpu, taken=by_session[number])
        elif uuid in used:
            gpu = replace(gpu, taken="another program")
        gpus.append(gpu)
    return Machine(
        host=host,
        reached=f"{route.user}@{route.host}:{route.port}",
        proxy=route.proxy,
        user=answer.one("user"),
        cores=answer.number("cores"),
        ram_gb=round(answer.number("ram_kb") / 1e6, 1),
        disk_gb=round(answer.number("disk_kb") / 1e6, 1),
        cpu=answer.one("cpu")[:80],
        python=answer.one("python"),
        gpus=tuple(sorted(gpus, key=lambda gpu: gpu.number)),
        labels=tuple(label for label, _ in sessions),
        left=tuple(left),
    )


def _about(text: str) -> dict[str, str]:
    """A session there: its id, its label, the numbers of its GPUs, and whose it is."""
    words = text.split(" ")
    return {
        name: words[words.index(name) + 1] if name in words[:-1] else ""
        for name in ("id", "label", "gpus", "by")
    }


def _gb(mib: str) -> float:
    try:
        return round(float(mib) * 2**20 / 1e9, 1)
    except ValueError:
        return 0.0
