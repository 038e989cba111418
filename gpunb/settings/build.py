"""Builds settings of their sources, and explains a value that breaks its rule."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as SourceError

from gpunb.errors import SettingsError
from gpunb.hints import typed
from gpunb.settings.model import (
    PREFIX,
    AgentSettings,
    LimitsSettings,
    NotifySettings,
    Settings,
    file_layers,
    lowest_layer,
    without_environment,
)

if TYPE_CHECKING:
    from gpunb.settings.files import Files

__all__ = ["alone", "built", "environment", "has", "is_secret"]

_SECRET_WORDS = ("key", "token", "secret", "password")
_TABLES: Mapping[str, type[BaseModel]] = {
    "agent": AgentSettings,
    "limits": LimitsSettings,
    "notify": NotifySettings,
}


def alone(name: str, *data: Mapping[str, Any]) -> Settings:
    """Build settings from these sources alone, without the environment; messages call the first `name`."""
    files, lowest = file_layers.set(data), lowest_layer.set({})
    only = without_environment.set(True)
    try:
        return Settings()
    except ValidationError as err:
        raise _explain(err, [(name, data[0])]) from err
    finally:
        file_layers.reset(files)
        lowest_layer.reset(lowest)
        without_environment.reset(only)


def built(overrides: Mapping[str, Any], files: Files) -> Settings:
    """Build and check the settings of all sources."""
    token, other = file_layers.set((files.kept, files.own)), lowest_layer.set(files.lowest)
    try:
        return Settings(**dict(overrides))
    except ValidationError as err:
        raise _explain(err, files.layers(overrides)) from err
    finally:
        file_layers.reset(token)
        lowest_layer.reset(other)


def environment() -> dict[str, Any]:
    """Return the settings of ``GPUNB_*`` variables."""
    try:
        return dict(EnvSettingsSource(Settings)())
    except SourceError as err:
        msg = f"a {PREFIX}* variable can't be read: {err}"
        raise SettingsError(msg, hint="write tables as GPUNB_PROVIDERS__VAST__KEY=...") from err


def _explain(err: ValidationError, layers: list[tuple[str, Mapping[str, Any]]]) -> SettingsError:
    first = err.errors()[0]
    loc = [str(part) for part in first["loc"]]
    key = ".".join(loc)
    where = next((name for name, data in layers if has(data, loc)), "the settings")
    if where == "environment":
        where = f"environment variable {PREFIX}{'__'.join(loc).upper()}"
    if first["type"] == "extra_forbidden":
        known = _TABLES.get(loc[0], Settings) if len(loc) > 1 else Settings
        close = get_close_matches(loc[-1], list(known.model_fields), n=1, cutoff=0.5)
        msg = f"{where}: there is not a setting {key!r}"
        return SettingsError(
            msg, hint=f"did you mean {close[0]!r}?" if close else (typed("config") + " lists them all")
        )
    rule = first["msg"].removeprefix("Value error, ")
    value = "****" if is_secret(key) else repr(first["input"])
    msg = f"{where}: setting {key!r} has the value {value}: {rule}"
    about = Settings.model_fields.get(loc[0])
    return SettingsError(msg, hint=f"{loc[0]} is: {about.description}" if about else None)


def has(data: Any, loc: list[str]) -> bool:
    """Return whether `data` has a value at this place."""
    for part in loc:
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        else:
            return isinstance(data, list) and part.isdigit()
    return True


def is_secret(key: str) -> bool:
    """Return whether the value of `key` is never shown."""
    if key.startswith(("notify.webhook", "notify.to")):
        return True
    last = key.rsplit(".", 1)[-1].lower()
    return any(word in last for word in _SECRET_WORDS)
