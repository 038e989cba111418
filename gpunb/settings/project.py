"""Limits on a project's ``gpunb.toml``, which may come from another author.

It may only narrow what the user's own file and the defaults allow: a shorter lease, a smaller
budget or disk, fewer clouds. Everything else (which program or image runs, what comes back to this
machine, accepted terms, trust, addresses, keys) belongs in the user's own file: it is refused, and
reported as `Refused`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.hints import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpunb.settings import CheckSettings, LimitsSettings, Settings

__all__ = ["Refused", "narrow"]

_LESS = {
    "hours": "longer than your own {own:g} h",
    "idle": "longer than your own {own:g} s",
    "disk_gb": "more than your own {own:g} GB",
    "budget": "more than your own ${own:g}",
    "price_tolerance": "more than your own {own:g}",
    "cell_timeout": "longer than your own {own:g} s",
}
_YOURS = {
    "save": ("what comes back to this machine is yours to say", "rent --save {value}"),
    "python": ("which program runs is yours to say", "rent --python {value}"),
    "providers": ("terms, images and a cloud's own options are yours to say", ""),
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused setting of a project's file: dotted key, value, reason, and where it may be set."""

    key: str
    value: Any
    why: str
    source: str
    hint: str = ""

    def text(self) -> str:
        """Format the refusal in one line, for people."""
        value = ", ".join(map(str, self.value)) if isinstance(self.value, list) else str(self.value)
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        message = f"{self.source}: {self.key} = {shown} does not hold: {self.why}"
        return f"{message}; to have it: {self.hint}" if self.hint else message


def _options(asked: Settings) -> Iterator[tuple[str, str, Any]]:
    """All options of clouds, as (cloud, option, value)."""
    for name, table in asked.providers.items():
        for option, value in (table.model_extra or {}).items():
            yield name, option, value


def _lower_caps(
    found: Mapping[str, Any], asked: LimitsSettings, own: Settings, no: Callable[..., None]
) -> dict[str, Any]:
    """The caps of a project's file that are not above the user's own."""
    looser = own.limits.looser(asked)
    for name in looser:
        mine = getattr(own.limits, name)
        no(f"limits.{name}", found[name], f"a project's file may only lower a cap, and your own is {mine}")
    kept = {name: value for name, value in found.items() if name not in looser}
    return {"limits": kept} if kept else {}


def narrow(
    found: Mapping[str, Any], asked: Settings, own: Settings, *, source: str, user_file: str
) -> tuple[dict[str, Any], list[Refused]]:
    """Split a project's settings into those that are valid and those refused.

    Parameters
    ----------
    found
        The file as it was read.
    asked
        The same, checked: its values in their units.
    own
        What holds without the project's file and without the environment.
    source, user_file
        The paths of both files, for messages.
    """
    kept: dict[str, Any] = {}
    refused: list[Refused] = []

    def no(key: str, value: Any, why: str, hint: str = "") -> None:
        refused.append(Refused(key, value, why, source, hint or f"set it in {user_file}"))

    for key in found:
        value: Any = getattr(asked, key, None)
        mine: Any = getattr(own, key, None)
        if key in _LESS:
            # without a user's budget the price of the hours is the limit: the lease takes the lower one
            if mine is None or value <= mine:
                kept[key] = found[key]
            else:
                no(
                    key,
                    found[key],
                    f"a project's file may only narrow, and it is {_LESS[key].format(own=mine)}",
                )
        elif key == "clouds":
            kept_clouds = list(value) if "all" in own.clouds else [one for one in value if one in own.clouds]
            kept |= {key: kept_clouds} if kept_clouds else {}
            more = [one for one in value if one not in kept_clouds]
            if more:
                no(key, more, f"a project's file may only narrow your own clouds ({', '.join(own.clouds)})")
        elif key == "check":
            kept.update(_stricter(found[key], value, mine, no))
        elif key == "limits":
            kept.update(_lower_caps(found[key], value, own, no))
        elif key == "providers":
            why, _ = _YOURS[key]
            for name, option, setting in _options(asked):
                no(f"providers.{name}.{option}", setting, why)
        else:
            why, hint = _YOURS.get(key, ("it is yours to say", ""))
            values = value if isinstance(value, list) else [value]
            if values:
                line = hint.format(value=" --save ".join(map(str, values)))
                no(key, found[key], why, typed(line) if line else "")
    return kept, refused


def _stricter(
    found: Mapping[str, Any], asked: CheckSettings, own: CheckSettings, no: Callable[..., None]
) -> dict[str, Any]:
    """Keep of a project's ``[check]`` what is at least as strict as the user's own; `no` refuses the rest."""
    kept = {}
    for name in found:
        wanted, held = getattr(asked, name), getattr(own, name)
        if wanted <= held if name == "memory" else wanted >= held:
            kept[name] = found[name]
        else:
            no(f"check.{name}", found[name], f"a project's file may only narrow, and your own is {held}")
    return {"check": kept} if kept else {}
