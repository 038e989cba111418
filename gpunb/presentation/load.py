"""Display of a host's load: current numbers, and the last minutes as a line of bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.presentation.result import Block, Cell, Fields, Note, Table
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bars", "blocks", "run_blocks"]

_BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40


def bars(values: Sequence[float | None], *, top: float = 100.0, width: int = WIDTH) -> str:
    """Draw the last `width` values as bars from 0 to `top`, with gaps for unknown ones."""
    out = []
    for value in list(values)[-width:]:
        if value is None or top <= 0:
            out.append(" ")
        else:
            share = min(1.0, max(0.0, value / top))
            out.append(_BARS[min(len(_BARS) - 1, int(share * len(_BARS)))])
    return "".join(out)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _pair(value: object) -> tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2:
        one, two = _number(value[0]), _number(value[1])
        if one is not None and two is not None:
            return one, two
    return None


def _of(value: object) -> str:
    pair = _pair(value)
    return f"{bytes_text(pair[0])} of {bytes_text(pair[1])}" if pair else ""


def _percent(value: object) -> Cell:
    number = _number(value)
    return Cell("" if number is None else f"{number:.0f} %", "ok" if number and number >= 50 else "")


def _gpus(sample: dict[str, Any]) -> list[dict[str, Any]]:
    found = sample.get("gpus")
    return [one for one in found if isinstance(one, dict)][:64] if isinstance(found, list) else []


def _past(samples: Sequence[dict[str, Any]], index: str) -> list[float | None]:
    return [
        next((_number(gpu.get("util")) for gpu in _gpus(sample) if str(gpu.get("i")) == index), None)
        for sample in samples
    ]


def blocks(name: str, samples: Sequence[dict[str, Any]]) -> list[Block]:
    """Return blocks with the newest of `samples` in numbers, the others as bars."""
    if not samples:
        return [Note(f"{name} has told nothing yet", "dim")]
    last = samples[-1]
    out: list[Block] = []
    rows = []
    for gpu in _gpus(last):
        temp, power = _number(gpu.get("temp")), _number(gpu.get("power"))
        rows.append(
            [
                str(gpu.get("i", "")),
                str(gpu.get("name", "")),
                _percent(gpu.get("util")),
                _of(gpu.get("mem")),
                "" if temp is None else f"{temp:.0f} °C",
                "" if power is None else f"{power:.0f} W",
                bars(_past(samples, str(gpu.get("i")))),
            ]
        )
    if rows:
        out.append(Table(["gpu", "name", ">load", ">memory", ">heat", ">power", "lately"], rows))
    else:
        out.append(Note(f"{name} shows no GPU", "dim"))
    net = _pair(last.get("net"))
    cpu = _number(last.get("cpu"))
    out.append(
        Fields(
            [
                (
                    "cpu",
                    "" if cpu is None else f"{cpu:3.0f} %  {bars([_number(s.get('cpu')) for s in samples])}",
                ),
                ("memory", _of(last.get("mem"))),
                ("disk", _of(last.get("disk"))),
                ("network", f"{bytes_text(net[0])}/s in, {bytes_text(net[1])}/s out" if net else ""),
            ]
        )
    )
    return out


def run_blocks(samples: Sequence[dict[str, Any]]) -> list[Block]:
    """Return blocks with the host's load during a run, as bars over its whole length."""
    if not samples:
        return [Note("the host has no telemetry of that time", "dim")]
    rows: list[tuple[str, object]] = []
    for gpu in _gpus(samples[-1]):
        past = _past(samples, str(gpu.get("i")))
        rows.append((f"gpu {gpu.get('i')}", _line(past, 100.0, "%")))
        memory = [
            pair[0] / pair[1] * 100
            for sample in samples
            for one in _gpus(sample)
            if one.get("i") == gpu.get("i") and (pair := _pair(one.get("mem"))) and pair[1]
        ]
        rows.append((f"gpu {gpu.get('i')} memory", _line(memory, 100.0, "%")))
    rows.append(("cpu", _line([_number(sample.get("cpu")) for sample in samples], 100.0, "%")))
    return [Fields(rows)]


def _line(values: Sequence[float | None], top: float, unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, most = sum(known) / len(known), max(known)
    return f"{bars(values, top=top)}  {mean:.0f} {unit} on average, {most:.0f} {unit} at most"
