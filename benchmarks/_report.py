"""What a benchmark returns, and how it is printed."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

__all__ = ["Bar", "Options", "Report", "Result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes
    ----------
    repeats
        Measured repetitions of each thing; None leaves it to the benchmark.
    rtt_ms
        Round trips to measure at, in ms, for benchmarks that have a line between.
    hosts
        "plain" is an sshd as it is; "ssh" a session of provider ssh on it (cells, sync).
    """

    repeats: int | None = None
    rtt_ms: tuple[float, ...] = ()
    hosts: str = "plain"

    def rounds(self, default: int) -> int:
        """How often to measure, where the benchmark itself would take `default`."""
        return default if self.repeats is None else self.repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All samples of one figure.

    Attributes
    ----------
    unit
        "ms", "s", "MB", "MB/s", "rows/s" …
    note
        What a reader should know to compare it with something else.
    """

    name: str
    samples: Sequence[float]
    unit: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.samples or not all(math.isfinite(sample) for sample in self.samples):
            msg = f"samples of {self.name!r}: {list(self.samples)!r}; one or more finite numbers are needed"
            raise ValueError(msg)

    @property
    def median(self) -> float:
        """The middle sample."""
        return median(self.samples)

    def data(self) -> dict[str, Any]:
        """For the JSON line."""
        return {
            "name": self.name,
            "median": rounded(self.median),
            "min": rounded(min(self.samples)),
            "max": rounded(max(self.samples)),
            "n": len(self.samples),
            "unit": self.unit,
            **({"note": self.note} if self.note else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure with a limit.

    `sense` says on which side of `limit` a good value lies; the limit itself is good.
    """

    name: str
    value: float
    limit: float
    unit: str
    sense: Literal["at most", "at least"] = "at most"

    @property
    def ok(self) -> bool:
        """Whether the bar is met. A value that is not a number never is."""
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit

    def data(self) -> dict[str, Any]:
        """For the JSON line."""
        return {
            "name": self.name,
            "value": rounded(self.value) if math.isfinite(self.value) else None,
            "limit": self.limit,
            "sense": self.sense,
            "unit": self.unit,
            "ok": self.ok,
        }

    def line(self) -> str:
        """The bar, its value and whether it is met, in a line."""
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark} {self.name}: {rounded(self.value):g} {self.unit}, {self.sense} {self.limit:g}"


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that one benchmark found."""

    results: list[Result] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every bar is met."""
        return all(bar.ok for bar in self.bars)

    def json(self, name: str) -> str:
        """The one line that ends the output."""
        line = {
            "benchmark": name,
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "results": [result.data() for result in self.results],
            "bars": [bar.data() for bar in self.bars],
        }
        return json.dumps(line, ensure_ascii=False, allow_nan=False)

    def show(self, console: Console, title: str) -> None:
        """Print the tables."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left")
        for head in ("what", "median", "min", "max", "n", "note"):
            table.add_column(head, justify="left" if head in {"what", "note"} else "right")
        for result in self.results:
            found = result.data()
            figures = [f"{found[key]:g} {result.unit}" for key in ("median", "min", "max")]
            table.add_row(Text(result.name), *figures, str(found["n"]), Text(result.note))
        console.print(table)
        for bar in self.bars:
            console.print(Text(bar.line(), style="green" if bar.ok else "bold red"))
        for note in self.notes:
            console.print(Text(note, style="dim"))


def rounded(value: float) -> float:
    """Four significant digits: what a figure measured a few times is worth."""
    return float(f"{value:.4g}")
