"""Parsing and formatting of time, money and sizes. No imports of gpunb.

An invalid text raises `ValueError` with the rule; the caller names the field.
"""

from __future__ import annotations

import math
import re

__all__ = [
    "bytes_text",
    "costs_text",
    "duration",
    "duration_text",
    "files_text",
    "hourly_text",
    "money",
    "money_text",
    "price_text",
    "took_text",
]

_STEP = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.IGNORECASE)
_LIMIT_S = 366 * 86400.0


def duration(text: str) -> float:
    """Parse a length of time to seconds: ``"90m"``, ``"2h"``, ``"1h30m"``, ``"1d"``.

    Raises
    ------
    ValueError
        Not a length of time, not above zero, or longer than a year. A bare
        number is refused: hours and minutes differ by a factor of 60 in money.
    """
    given = text.strip()
    parts = _PART.findall(given)
    rest = _PART.sub("", given).strip()
    if not parts or rest:
        msg = f"{text!r} is not a length of time; write it with units: 90m, 2h, 1h30m or 1d"
        raise ValueError(msg)
    seconds = sum(float(number) * _STEP[unit.lower()] for number, unit in parts)
    if not 0 < seconds <= _LIMIT_S:
        msg = f"{text!r} must be above 0 and at most 366 days"
        raise ValueError(msg)
    return seconds


def duration_text(seconds: float) -> str:
    """Format `seconds` in at most two units: ``"1h 05m"``, ``"42s"``, ``"2d 3h"``."""
    if not math.isfinite(seconds):
        return "no end"
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    if whole < 60:
        return f"{sign}{whole}s"
    if whole < 600:
        minutes, secs = divmod(whole, 60)
        return f"{sign}{minutes}m {secs:02d}s" if secs else f"{sign}{minutes}m"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{sign}{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{sign}{hours}h {minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{sign}{days}d {hours}h"


def took_text(seconds: float) -> str:
    """Format an elapsed time: tenths below ten seconds, ``"0.3 s"``, else as `duration_text`."""
    return f"{seconds:.1f} s" if 0 <= seconds < 9.95 else duration_text(seconds)


def money(text: str) -> float:
    """Parse an amount in US dollars: ``"5"``, ``"$5"``, ``"2.50"``.

    Raises
    ------
    ValueError
        Not an amount, or not a finite number from 0 up.
    """
    given = text.strip().removeprefix("$").replace("_", "")
    if not re.fullmatch(r"\d{1,12}(\.\d+)?|\.\d+", given):
        msg = f"{text!r} is not an amount in US dollars; write 5, $5 or 2.50"
        raise ValueError(msg)
    return float(given)


def money_text(usd: float) -> str:
    """Format an amount, ``"$1.25"``: two decimals always; ``"<$0.01"`` is more than nothing."""
    return _dollars(usd, 2)


def price_text(usd: float) -> str:
    """Format a price: ``"$0.348"`` below a dollar, else as an amount, ``"$1.70"``; ``"free"`` for none."""
    return _dollars(usd, 3 if abs(usd) < 0.9995 else 2) if usd else "free"


def hourly_text(usd: float) -> str:
    """Format a price an hour: ``"$0.348 an hour"``, or ``"free"``."""
    return f"{price_text(usd)} an hour" if usd else "free"


def costs_text(usd: float) -> str:
    """Format an hourly cost as a phrase: ``"costs $0.348 an hour"``, ``"costs nothing"``."""
    return f"costs {hourly_text(usd)}" if usd else "costs nothing"


def _dollars(usd: float, digits: int) -> str:
    sign = "-" if usd < 0 else ""
    if usd and abs(usd) < 0.5 * 10**-digits:
        return f"{sign}<${10**-digits:.{digits}f}"
    return f"{sign}${abs(usd):,.{digits}f}"


def files_text(count: int) -> str:
    """Format a number of files: ``"1 file"``, ``"12 files"``."""
    return f"{count} file{'s'[: count != 1]}"


def bytes_text(count: float) -> str:
    """Format a size: ``"1.4 GB"``, decimal units as clouds and disks count them."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"  # pragma: no cover (the loop returns at TB)
