"""A module of the project: the notebook imports it, here and on the host."""

from __future__ import annotations

import csv
from pathlib import Path


def read(path: str) -> list[tuple[int, float]]:
    """Read years and extents (10^6 km²) from a CSV file."""
    with Path(path).open(newline="") as file:
        return [(int(row["year"]), float(row["extent"])) for row in csv.DictReader(file)]


def slope(rows: list[tuple[int, float]]) -> float:
    """The slope of the line of least squares, per year."""
    middle_x = sum(x for x, _ in rows) / len(rows)
    middle_y = sum(y for _, y in rows) / len(rows)
    above = sum((x - middle_x) * (y - middle_y) for x, y in rows)
    return above / sum((x - middle_x) ** 2 for x, _ in rows)
