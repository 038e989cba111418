"""The start check: whether the machine is what was offered.

Between SSH and ready the host is examined (`gpunb/agent/check`), and each figure that the offer says is
compared with what is there. A wrong or dead GPU ends the rental, and the next offer is tried; what is
only weaker is told. A figure that the offer does not say, or that the host can't measure, is not compared.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.errors import GpunbError, HostError
from gpunb.hints import typed
from gpunb.offers.gpus import normalise, same_model, vram_from_mib
from gpunb.progress import SILENT, Progress
from gpunb.sessions.model import machine, offer_from_dict
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.providers.base import Offer
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session, Transfer

__all__ = ["Figure", "Limits", "NotAsOffered", "StartCheck", "compare", "make", "recorded"]

MEASURED_BYTES = 4_000_000  # a smaller transfer measures the round trip, not the line
_VERSION = re.compile(r"(\d+)\.(\d+)")


class NotAsOffered(HostError):
    """A GPU of the machine is not the one that was offered, or does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The tolerances of the check, as fractions of the offered figure.

    Attributes
    ----------
    memory
        How much of a GPU's memory may be missing, beyond what drivers keep for themselves.
    disk, line
        The least speed that is not told as weak.
    """

    memory: float = 0.05
    disk: float = 0.2
    line: float = 0.2


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure beside the offer's; `verdict` is "", "weak" or "wrong"."""

    what: str
    offered: str
    found: str
    verdict: str = ""


@dataclass(slots=True)
class StartCheck:
    """The result of a check.

    Attributes
    ----------
    wrong, weak
        What ends the rental, and what is told; a sentence each.
    notes
        What could not be compared, and why.
    took_s
        Seconds that the host took.
    """

    figures: list[Figure] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def add(self, what: str, offered: str, found: str, *, wrong: str = "", weak: str = "") -> None:
        """Add a figure, and the sentence about it if it is worse than offered."""
        if wrong:
            self.wrong.append(wrong)
        if weak:
            self.weak.append(weak)
        self.figures.append(Figure(what, offered, found, "wrong" if wrong else "weak" if weak else ""))

    def summary(self) -> str:
        """Return the result in a few words."""
        if self.wrong:
            return "not what was offered: " + "; ".join(self.wrong)
        return "weaker than offered" if self.weak else "as offered"

    def data(self) -> dict[str, Any]:
        """The result as plain values, for JSON and the ledger."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> StartCheck:
        """Rebuild the result from `data`."""
        figures = [Figure(*(str(figure[name]) for name in Figure.__slots__)) for figure in data["figures"]]
        texts = {name: [str(one) for one in data[name]] for name in ("wrong", "weak", "notes")}
        return cls(figures=figures, took_s=float(data["took_s"]), **texts)


def make(ledger: Ledger, session: Session, host: HostAccess, progress: Progress = SILENT) -> None:
    """Check the session's host, unless its rental asked for no check, and record the result.

    Raises
    ------
    NotAsOffered
        A GPU is another one than offered, or does not work.
    """
    asked = [intent.summary.get("check") for intent in ledger.intents(session.id)]
    if not asked or not isinstance(asked[-1], dict):
        return
    offer = offer_from_dict(session.offer)
    progress.say("checking that the machine is what was offered")
    try:
        report = host.examine(session, gpus=bool(offer.gpus and offer.gpu), disk=offer.disk_mbps > 0)
    except GpunbError as err:  # of another kind than its finding: a check that can't be made ends nothing
        ledger.note(session.id, "unchecked", err.message)
        return
    check = compare(offer, report, Limits(**asked[-1]))
    ledger.note(session.id, "check", json.dumps(check.data()))
    if check.wrong:
        ledger.add_failure(session.provider, offer.machine_id, check.summary())
        msg = f"{session.name} is not what was offered: {'; '.join(check.wrong)}"
        raise NotAsOffered(msg, hint=typed("rent --no-check") + " takes a machine as it is")


def recorded(ledger: Ledger, session: Session) -> StartCheck | None:
    """Return the last check of the session, with the rate of its first transfer; None without a check."""
    for event in reversed(ledger.events(session.id)):
        if event.kind == "check":
            with suppress(ValueError, TypeError, KeyError):  # a row that another program has damaged
                check = StartCheck.from_data(json.loads(event.detail))
                asked = ledger.intents(session.id)[-1].summary.get("check")
                limits = Limits(**asked) if isinstance(asked, dict) else Limits()
                _line(check, offer_from_dict(session.offer), ledger.transfers(session.id), limits)
                return check
    return None


def compare(offer: Offer, report: Mapping[str, Any], limits: Limits) -> StartCheck:
    """Compare an offer with what the host reports of itself (`gpunb/agent/check/machine.py`)."""
    check = StartCheck(took_s=_number(report.get("took_s")) or 0.0)
    if offer.gpus and offer.gpu:
        _gpus(check, offer, report, limits)
        _computing(check, report)
        _driver(check, offer, report)
    speed = _number(report.get("disk_mbps"))
    if offer.disk_mbps > 0 and speed is not None:
        slow = speed < limits.disk * offer.disk_mbps
        text = f"its disk writes {speed:.0f} MB/s, and {offer.disk_mbps:.0f} were offered"
        there = f"{speed:.0f} MB/s written"
        check.add("disk", f"{offer.disk_mbps:.0f} MB/s", there, weak=text if slow else "")
    for what, offered, unit, number in (
        ("cores", offer.cores, "", _number(report.get("cores"))),
        ("memory", offer.ram_gb, " GB", _number(report.get("ram_gb"))),
    ):
        if offered > 0 and number is not None:
            check.add(what, f"{offered:g}{unit}", f"{number:g}{unit}")
    return check


def _gpus(found: StartCheck, offer: Offer, report: Mapping[str, Any], limits: Limits) -> None:
    """Compare model, number and memory of the GPUs, and look at their memory errors and clocks."""
    trouble, rows = one_line(str(report.get("smi") or ""), 200), _rows(report.get("gpus"))
    if trouble == "missing":
        found.notes.append("there is no nvidia-smi: the GPUs could not be compared")
        return
    offered = machine(offer.gpu, offer.gpus)
    if trouble:
        found.add("GPUs", offered, "none", wrong=f"its GPU does not answer ({trouble})")
        return
    names = Counter(one_line(str(row.get("name") or ""), 60) for row in rows)
    shown = ", ".join(machine(normalise(name).name, count) for name, count in names.items()) or "none"
    partitions = report.get("slices")
    slices = (
        [one_line(str(partition), 20) for partition in partitions] if isinstance(partitions, list) else []
    )
    wrong = ""
    if slices:
        shown = f"{len(slices)} MIG slices ({', '.join(sorted(set(slices)))}) of {shown}"
        if "mig" in f"{offer.gpu_raw} {offer.gpu}".lower():
            found.add("GPUs", offer.gpu_raw or offered, shown)
            return
        wrong = f"it has {shown}, and whole GPUs were offered"
    elif len(rows) < offer.gpus:
        wrong = f"it has {len(rows)} of {offer.gpus} GPUs"
    elif other := next((name for name in names if same_model(offer.gpu, name) is False), ""):
        wrong = f"it has {normalise(other).name}, and {offer.gpu} was offered"
    found.add("GPUs", offered, shown, wrong=wrong)
    _memory(found, offer, rows, limits)
    for index, row in enumerate(rows):
        if (_number(row.get("ecc")) or 0) > 0:
            found.weak.append(f"GPU {index} had {row['ecc']:.0f} memory errors that ECC could not correct")
        if row.get("slowed"):
            found.weak.append(f"GPU {index} is slowed down ({one_line(str(row['slowed']), 80)})")


def _memory(found: StartCheck, offer: Offer, rows: Sequence[Mapping[str, Any]], limits: Limits) -> None:
    sizes = [
        vram_from_mib(mib, normalise(str(row.get("name") or "")).vram)
        for row in rows
        if (mib := _number(row.get("mib"))) is not None
    ]
    if not sizes or offer.vram_gb <= 0:
        return
    least = min(sizes)
    short = least < offer.vram_gb * (1 - limits.memory)
    text = f"a GPU has {least:g} GB of memory, and {offer.vram_gb:g} GB were offered"
    found.add("GPU memory", f"{offer.vram_gb:g} GB", f"{least:g} GB", wrong=text if short else "")


def _computing(found: StartCheck, report: Mapping[str, Any]) -> None:
    """Judge the first allocation and matrix product on each GPU.

    Where the driver itself works on a GPU, the failure of a library there is the image's fault.
    """
    lines = [row for row in _rows(report.get("work")) if type(row.get("gpu")) is int]
    good = {line["gpu"] for line in lines if line.get("by") == "driver" and not line.get("why")}
    last = {str(line.get("by")): line for line in lines}
    for line in lines:
        why = one_line(str(line.get("why") or ""), 200)
        if not why:
            continue
        what = f"GPU {line['gpu']}" if line["gpu"] >= 0 else "its GPU"
        if line.get("by") != "driver" and (line["gpu"] in good or (line["gpu"] < 0 and good)):
            found.weak.append(f"{one_line(str(line['by']), 20)} of the image fails on {what} ({why})")
        else:
            found.wrong.append(f"{what} does not work ({why})")
    if lines:
        by = one_line(next(reversed(last)), 20)
        fine = len({line["gpu"] for line in lines if line.get("by") == by and not line.get("why")})
        worked = "memory read back" if by == "driver" else f"multiplied by {by}"
        found.add("computes", "", f"{fine} GPU{'s' if fine != 1 else ''}, {worked}")
    elif report.get("work_over") is False:
        found.notes.append("the first computation on the GPUs had not ended within the check's time")


def _driver(found: StartCheck, offer: Offer, report: Mapping[str, Any]) -> None:
    """Compare the driver's CUDA version with the image's and the offer's."""
    driver, cuda = one_line(str(report.get("driver") or ""), 30), _version(report.get("cuda"))
    image = _version(report.get("image_cuda"))
    if not driver:
        return
    lines = _rows(report.get("work"))
    computed = any(line.get("by") in ("torch", "cupy") and not line.get("why") for line in lines)
    shown = driver + (f" (CUDA {_dotted(cuda)})" if cuda else "")
    wrong = weak = ""
    if cuda and image and image[0] > cuda[0] and not computed:
        wrong = f"its driver {shown} is too old for the image, which needs CUDA {_dotted(image)}"
    elif cuda and offer.cuda and cuda < (_version(f"{offer.cuda:.1f}") or cuda):
        weak = f"its driver {shown} is older than offered (CUDA {offer.cuda:.1f})"
    offered = f"CUDA {offer.cuda:.1f}" if offer.cuda else ""
    found.add("driver", offered, shown, wrong=wrong, weak=weak)


def _line(found: StartCheck, offer: Offer, transfers: Sequence[Transfer], limits: Limits) -> None:
    """Add the rate of the first transfer in each direction; the user's own line may be what limits it."""
    whole = [
        transfer for transfer in transfers if transfer.bytes >= MEASURED_BYTES and transfer.state == "ok"
    ]
    for what, direction, offered in (
        ("line to it", "up", offer.inet_down_mbps),
        ("line from it", "down", offer.inet_up_mbps),
    ):
        first = next((transfer for transfer in whole if transfer.direction == direction), None)
        if first is None or first.ended is None or offered <= 0:
            continue
        rate = first.bytes * 8 / 1e6 / max(first.ended - first.started, 1e-3)
        slow = rate < limits.line * offered
        text = (
            f"the first transfer ran at {rate:.0f} Mbit/s, and {offered:.0f} were offered; your own line"
            " may be the slower one"
        )
        found.add(what, f"{offered:.0f} Mbit/s", f"{rate:.0f} Mbit/s", weak=text if slow else "")


def _rows(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if fine else None  # type: ignore[arg-type]


def _version(value: object) -> tuple[int, int] | None:
    match = _VERSION.match(str(value or ""))
    return (int(match[1]), int(match[2])) if match else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
