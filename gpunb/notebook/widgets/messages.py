"""Validation of a page's messages: the field, the value, the rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Flag", "Names", "Number", "Rule", "Text", "read"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text of limited length."""

    most: int = 200
    optional: bool = False
    secret: bool = False

    def check(self, value: object) -> str | None:
        """Return what is wrong with `value`, or None."""
        if not isinstance(value, str):
            return "must be text"
        if not value.strip() and not self.optional:
            return "must not be empty"
        return f"must have at most {self.most} characters" if len(value) > self.most else None


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number above `above` and at most `most`."""

    above: float = 0.0
    most: float = 1e9
    optional: bool = False
    secret: bool = False

    def check(self, value: object) -> str | None:
        """Return what is wrong with `value`, or None."""
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if fits and self.above < value <= self.most:  # type: ignore[operator]
            return None
        return f"must be a number above {self.above:g} and at most {self.most:g}"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    optional: bool = True
    secret: bool = False

    def check(self, value: object) -> str | None:
        """Return what is wrong with `value`, or None."""
        return None if isinstance(value, bool) else "must be true or false"


@dataclass(frozen=True, slots=True)
class Names:
    """A list of short texts."""

    most: int = 1000
    optional: bool = False
    secret: bool = False

    def check(self, value: object) -> str | None:
        """Return what is wrong with `value`, or None."""
        fits = (
            isinstance(value, list)
            and len(value) <= self.most
            and all(isinstance(one, str) and len(one) <= 64 for one in value)
        )
        return None if fits else f"must be a list of at most {self.most} short texts"


Rule = Text | Number | Flag | Names


def read(content: object, kinds: Mapping[str, Mapping[str, Rule]]) -> tuple[str, dict[str, Any]]:
    """Return a message's kind and its fields; an optional field that is missing or null is None.

    Raises
    ------
    BadInput
        A kind or a field that is not in `kinds`, or a value that breaks its rule.
    """
    if not isinstance(content, dict):
        msg = "a message from the page must be an object"
        raise BadInput(msg)
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        msg = f"a message from the page: kind {_shown(kind)} must be one of {', '.join(kinds)}"
        raise BadInput(msg, hint="reload the page: it may be of another version of gpunb")
    rules = kinds[kind]
    fields: dict[str, Any] = {}
    for name, rule in rules.items():
        value = content.get(name)
        if value is None and rule.optional:
            fields[name] = None
            continue
        wrong = rule.check(value)
        if wrong is not None:
            shown = "" if rule.secret else f" {_shown(value)}"
            msg = f"{kind}: {name}{shown} {wrong}"
            raise BadInput(msg)
        fields[name] = value
    further = [name for name in content if name not in rules and name not in ("kind", "id")]
    if further:
        msg = f"{kind}: there is no field {_shown(further[0])}; it has {', '.join(rules) or 'none'}"
        raise BadInput(msg)
    return kind, fields


def _shown(value: object) -> str:
    text = clean(repr(value)[:200])
    return text if len(text) <= 60 else f"{text[:60]}…"
