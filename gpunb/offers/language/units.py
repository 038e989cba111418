"""Numbers with units as people type them: 80GB, 2TB, 1Gbps, $3, 98%, 90m."""

from __future__ import annotations

import math
import re

from gpunb.errors import BadInput

__all__ = ["UNITS", "parse_quantity", "parse_range", "show_quantity"]

# the size of each unit in the dimension's base unit, which is listed first
UNITS: dict[str, dict[str, float]] = {
    "GB": {
        "gb": 1.0,
        "g": 1.0,
        "gib": 1.0,
        "gi": 1.0,
        "tb": 1e3,
        "t": 1e3,
        "tib": 1024.0,
        "mb": 1e-3,
        "mib": 1 / 1024,
    },
    "Mbps": {"mbps": 1.0, "mbit": 1.0, "mb": 1.0, "m": 1.0, "gbps": 1e3, "gbit": 1e3, "g": 1e3, "kbps": 1e-3},
    "MB/s": {"mbps": 1.0, "mb": 1.0, "m": 1.0, "gb": 1e3, "g": 1e3},
    "$": {"usd": 1.0, "$": 1.0},
    "h": {
        "h": 1.0,
        "hr": 1.0,
        "hours": 1.0,
        "m": 1 / 60,
        "min": 1 / 60,
        "s": 1 / 3600,
        "d": 24.0,
        "w": 168.0,
    },
    "s": {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0},
    "ratio": {"%": 0.01},
    "": {},
}
_NUMBER = re.compile(
    r"\s*(\$?)\s*([-+]?)(\$?)(\d[\d_]*(?:\.\d+)?|\.\d+)(e[-+]?\d+)?\s*([a-z$%]*)\s*", re.IGNORECASE
)
_PER_HOUR = re.compile(r"\s*(?:/|per)\s*(?:h|hr|hour)\s*$", re.IGNORECASE)


def parse_quantity(text: str, dimension: str, *, name: str = "value") -> float:
    """Parse the number in `text`, in the dimension's base unit.

    Parameters
    ----------
    dimension
        A key of `UNITS`: "GB", "Mbps", "MB/s", "$", "h", "s", "ratio", or "" for a plain number.
    name
        What the number is for, said in the error.

    Raises
    ------
    BadInput
        It is no number, has a unit of something else, or is not finite.
    """
    shown = text if len(text) <= 40 else text[:39] + "…"
    match = None
    if len(text) <= 200:
        match = _NUMBER.fullmatch(_PER_HOUR.sub("", text) if dimension == "$" else text)
    if match is None:
        msg = f"{name}: {shown!r} is not a number{_example(dimension)}"
        raise BadInput(msg)
    dollar, sign, dollar_after, digits, exponent, unit = match.groups()
    units = UNITS[dimension]
    factor = units.get(unit.lower(), None if unit else 1.0)
    if factor is None or ((dollar or dollar_after) and dimension != "$"):
        known = ", ".join(units) or "none"
        msg = f"{name}: {shown!r} has the unit {unit or '$'!r}; units for it: {known}"
        raise BadInput(msg)
    value = float(sign + digits.replace("_", "") + (exponent or "")) * factor
    if not math.isfinite(value):
        msg = f"{name}: {shown!r} is too large a number"
        raise BadInput(msg)
    return value


def parse_range(text: str, dimension: str, *, name: str = "value") -> tuple[float | None, float | None]:
    """Parse the two ends of "2..4", "2..", "..4" or "4" (then both are 4).

    Raises
    ------
    BadInput
        An end is no number, both are missing, or the first is above the second.
    """
    low_text, dots, high_text = text.partition("..")
    if not dots:
        value = parse_quantity(text, dimension, name=name)
        return value, value
    low = parse_quantity(low_text, dimension, name=name) if low_text.strip() else None
    high = parse_quantity(high_text, dimension, name=name) if high_text.strip() else None
    if low is None and high is None:
        msg = f"{name}: a range needs at least one end, as in 2..4, 2.. or ..4"
        raise BadInput(msg)
    if low is not None and high is not None and low > high:
        msg = f"{name}: the range {text[:40]!r} ends before it begins"
        raise BadInput(msg, hint=f"did you mean {high_text.strip()[:20]}..{low_text.strip()[:20]}?")
    return low, high


def show_quantity(value: float, dimension: str) -> str:
    """Format `value` for people: "80 GB", "$3.20", "98 %"; "?" for an unknown one."""
    if math.isnan(value):
        return "?"
    if math.isinf(value):
        return "any"
    if dimension == "$":
        return f"${value:.2f}" if value >= 0.1 else f"${value:.4f}".removesuffix("00")
    if dimension == "ratio":
        return f"{100 * value:.4g} %"
    if dimension == "s" and value >= 120:
        return f"{value / 60:.1f} min" if value < 600 else f"{value / 60:.0f} min"
    return f"{value:.6g} {dimension}".rstrip()


def _example(dimension: str) -> str:
    examples = {
        "GB": "80 or 2TB",
        "Mbps": "500 or 1Gbps",
        "$": "3 or $2.50",
        "h": "2 or 90m",
        "ratio": "0.98 or 98%",
    }
    found = examples.get(dimension)
    return f" (such as {found})" if found else ""
