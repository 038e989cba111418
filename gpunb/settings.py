"""Settings and their sources: command line > GPUNB_* > gpunb.toml > the user's file.

A project's gpunb.toml may only narrow what the rest allows; see `gpunb.project_file`.

Below all of them are the simulated clouds, while ``gpunb sim up`` has put them in the place of
the real ones.

pydantic is slow to import, so a quick verb (``ps``) does not come here.
"""

from __future__ import annotations

import contextvars
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from gpunb import log, paths, units
from gpunb.errors import SettingsError
from gpunb.hints import typed
from gpunb.project_file import Refused, narrow
from gpunb.trust import rank

# tomli is tomllib's own ancestor, for Python 3.10
tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

__all__ = [
    "FILE_NAME",
    "LimitsSettings",
    "Origin",
    "ProviderSettings",
    "Refused",
    "Settings",
    "load",
    "origins",
    "project_file",
    "refused",
]

FILE_NAME = "gpunb.toml"
_NOT_A_PROJECT_S = frozenset(["base_url", "key", "options", "host_key"])
PREFIX = "GPUNB_"
# variables of ours that are not settings
_NOT_SETTINGS = frozenset({"GPUNB_HOME", "GPUNB_LEDGER"})
SIMULATED = "gpunb sim up"
_SECRET_WORDS = ("key", "token", "secret", "password")

_files: contextvars.ContextVar[tuple[Mapping[str, Any], ...]] = contextvars.ContextVar(
    "gpunb_settings_files", default=()
)
_bare: contextvars.ContextVar[bool] = contextvars.ContextVar("gpunb_settings_bare", default=False)
_lowest: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar(
    "gpunb_settings_lowest", default=MappingProxyType({})
)


def _hours(value: object) -> object:
    return units.duration(value) / 3600 if isinstance(value, str) and not _number(value) else value


def _seconds(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        msg = f"{value!r} has no unit; write it with one: 90s, 15m or 2h"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError into a named field
    return units.duration(value) if isinstance(value, str) else value


def _dollars(value: object) -> object:
    return units.money(value) if isinstance(value, str) else value


def _words(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ProviderSettings(BaseModel):
    """One ``[providers.NAME]`` table; other keys than these two are the provider's own."""

    model_config = ConfigDict(extra="allow")

    base_url: str | None = None
    key: SecretStr | None = None


class SecretsSettings(BaseModel):
    """The ``[secrets]`` table: which hosts a run's secrets may go to."""

    model_config = ConfigDict(extra="forbid")

    min_trust: Literal["own", "datacenter", "stranger"] = "datacenter"


class LimitsSettings(BaseModel):
    """The ``[limits]`` table: caps over all sessions; None is no cap, 0 allows nothing that costs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    usd_h: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None, ge=0, description="US dollars an hour that all sessions cost together"
    )
    usd_day: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None, ge=0, description="US dollars a day (local time)"
    )
    usd_month: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None, ge=0, description="US dollars a month (local time)"
    )
    sessions: int | None = Field(default=None, ge=0, description="live sessions at a time")
    gpus: int | None = Field(default=None, ge=0, description="GPUs at a time")
    max_hours: Annotated[float | None, BeforeValidator(_hours)] = Field(
        default=None, gt=0, le=8784, description="how long a session may last, extensions included (hours)"
    )
    clouds: Annotated[list[str] | None, BeforeValidator(_words)] = Field(
        default=None, description="clouds that may be rented from"
    )
    trust: Literal["own", "datacenter", "stranger"] | None = Field(
        default=None, description="the least trust of a host that may be rented"
    )

    def looser(self, other: LimitsSettings) -> list[str]:
        """The caps of `other` that allow more than these do."""
        return [name for name in sorted(other.model_fields_set) if self._less(name, getattr(other, name))]

    def _less(self, name: str, value: Any) -> bool:
        mine = getattr(self, name)
        if mine is None:
            return False
        if value is None:
            return True
        if name == "clouds":
            return not {*value} <= {*mine}
        return rank(value) < rank(mine) if name == "trust" else bool(value > mine)


class Settings(BaseSettings):
    """All settings. Each field's description is what ``gpunb config`` shows."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", validate_default=False
    )

    clouds: Annotated[list[str], NoDecode, BeforeValidator(_words)] = Field(
        default=["auto"],
        min_length=1,
        description="clouds that offers and rent ask, by name; auto: those with a key, else this computer",
    )
    hours: Annotated[float, BeforeValidator(_hours)] = Field(
        default=2.0, gt=0, le=8784, description="lease: how long a session lives (hours, or 90m)"
    )
    idle: Annotated[float, BeforeValidator(_seconds)] = Field(
        default=1800.0, ge=60, description="lease: idle timeout (15m)"
    )
    budget: Annotated[float | None, BeforeValidator(_dollars)] = Field(
        default=None,
        gt=0,
        description="lease: what it may cost, US dollars; unset: 1.2 x gpu and disk for the hours",
    )
    price_tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="what the next offer may cost more than the one agreed to, unasked; 0.05 is 5%",
    )
    disk_gb: float = Field(default=20.0, ge=0, description="disk to rent with the machine, GB")
    python: str | None = Field(default=None, description="the host's Python for cells; unset: found there")
    save: Annotated[list[str], NoDecode, BeforeValidator(_words)] = Field(
        default=[], description="folders on the host that are brought back before the end"
    )
    cell_timeout: Annotated[float | None, BeforeValidator(_seconds)] = Field(
        default=None, description="how long a %%gpu cell may run (10m); unset: no limit"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="how much the log file keeps"
    )
    secrets: SecretsSettings = Field(
        default=SecretsSettings(),
        description="secrets.min_trust: the least trust of a host that gets any: own, datacenter, stranger",
    )
    limits: LimitsSettings = Field(
        default=LimitsSettings(),
        description="caps over all sessions: usd_h, usd_day, usd_month, sessions, gpus, max_hours, clouds, "
        "trust",
    )
    providers: dict[str, ProviderSettings] = Field(
        default={}, description="one table a cloud: base_url, key, its own options"
    )
    _simulated: frozenset[str] = PrivateAttr(default=frozenset())
    _refused: tuple[Refused, ...] = PrivateAttr(default=())
    _budget_most: float | None = PrivateAttr(default=None)

    @property
    def simulated(self) -> frozenset[str]:
        """The clouds whose address is a simulation's (``gpunb sim up``)."""
        return self._simulated

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Settings of a project's file that are refused."""
        return self._refused

    @property
    def budget_most(self) -> float | None:
        """A project's budget if the user has set none: the lesser of it and the default holds."""
        return self._budget_most

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Set the order of sources; no .env file and no secrets folder."""
        files = tuple(_DataSource(settings_cls, data) for data in _files.get())
        above = (init_settings,) if _bare.get() else (init_settings, env_settings)
        return (*above, *files, _DataSource(settings_cls, _lowest.get()))

    def provider(self, name: str) -> dict[str, Any]:
        """The keyword arguments of the provider's config: base_url, key and options."""
        table = self.providers.get(name, ProviderSettings())
        return {"base_url": table.base_url, "key": table.key, "options": dict(table.model_extra or {})}


class _DataSource(PydanticBaseSettingsSource):
    """A settings source of given values: one file, or the lowest defaults."""

    def __init__(self, settings_cls: type[BaseSettings], data: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self.data = data

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Not used: the source is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.data)


def _simulated(layers: list[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The settings of the simulated clouds, without those whose address the user has set."""
    found = paths.simulation() or {}
    tables = [table for _, data in layers if isinstance(table := data.get("providers"), Mapping)]

    def placed(name: str) -> bool:
        return any(isinstance(one := table.get(name), Mapping) and one.get("base_url") for table in tables)

    used = {name: dict(one) for name, one in found.items() if not placed(name)}
    return {"clouds": [*used], "providers": used} if used else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as err:
        msg = f"{path} can't be read: {err.strerror}"
        raise SettingsError(msg) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        msg = f"{path} is not a TOML file: {err}"
        raise SettingsError(msg, hint="see https://toml.io for the format, or move the file away") from err
    return found


def project_file(cwd: Path | None = None) -> Path | None:
    """The nearest ``gpunb.toml`` in `cwd` or a folder above it, or None."""
    try:
        here = (cwd or Path.cwd()).absolute()
    except FileNotFoundError:  # the working folder was deleted
        return None
    for folder in (here, *here.parents):
        found = folder / FILE_NAME
        if found.is_file() and found != paths.config_file():
            return found
    return None


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting: its dotted key, its value (secrets hidden) and its source."""

    key: str
    value: Any
    source: str


@cache
def _loaded(
    cwd: Path,
    home: str | None,  # noqa: ARG001
    environ: tuple[tuple[str, str], ...],  # noqa: ARG001
    written: tuple[Any, ...],  # noqa: ARG001
) -> Settings:
    return _load({}, cwd)


def load(overrides: Mapping[str, Any] | None = None, cwd: Path | None = None) -> Settings:
    """Load and check the settings for the working folder.

    Parameters
    ----------
    overrides
        Values of the command line, of the highest priority. None values are left out.
    cwd
        Where to look upwards for ``gpunb.toml``; the working folder if None.

    Raises
    ------
    SettingsError
        An unknown key, a value that breaks its rule, or a file that can't be read.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    if given or cwd is not None:
        return _load(given, cwd)
    environ = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(PREFIX)))
    try:
        here = Path.cwd()
    except FileNotFoundError:
        here = Path("/")
    written = (repr(paths.simulation()), *((str(path), _stamp(path)) for path in _paths(here)))
    return _loaded(here, os.environ.get("GPUNB_HOME"), environ, written)


def _stamp(path: Path) -> tuple[int, ...]:
    """A value that changes when the file does."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode, found.st_uid)


@dataclass(frozen=True, slots=True)
class _Files:
    """The settings files: the project's (None without one), its valid part, and the user's."""

    project: Path | None
    asked: Mapping[str, Any]
    kept: Mapping[str, Any]
    own: Mapping[str, Any]
    lowest: Mapping[str, Any]
    refused: tuple[Refused, ...] = ()

    def layers(self, overrides: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
        """The sources by priority, each with its name in messages."""
        found: list[tuple[str, Mapping[str, Any]]] = [
            ("the command line", overrides),
            ("environment", _environment()),
        ]
        if self.project is not None:
            found.append((str(self.project), self.kept))
        return [*found, (str(paths.config_file()), self.own), (SIMULATED, self.lowest)]


def _read_files(cwd: Path | None, overrides: Mapping[str, Any]) -> _Files:
    """Read the files, refuse the user's if others may write to it, and narrow the project's."""
    file = paths.config_file()
    own = _read(file)
    why = paths.not_ours(file)
    if why:
        msg = f"your settings file {file} can't be trusted: {why}"
        raise SettingsError(
            msg, bill="nothing was rented or changed", hint=f"chmod go-w {file}, if it is yours"
        )
    project = project_file(cwd)
    if project is None:
        lowest = _simulated([("", overrides), ("", _environment()), ("", own)])
        return _Files(None, {}, {}, own, lowest)
    why = paths.not_ours(project)
    if why:
        lowest = _simulated([("", overrides), ("", _environment()), ("", own)])
        refused = (Refused("(all of it)", "", why, str(project), f"copy what you want of it to {file}"),)
        return _Files(project, {}, {}, own, lowest, refused)
    asked = _read(project)
    _check_project(project, asked)
    lowest = _simulated([("", overrides), ("", _environment()), ("", asked), ("", own)])
    files = _Files(project, asked, asked, own, lowest)
    _built(overrides, files)  # a value that breaks its rule is named with its file
    kept, refusals = narrow(
        asked,
        _alone(str(project), asked),
        _alone(str(file), own, lowest),
        source=str(project),
        user_file=str(file),
    )
    return _Files(project, asked, kept, own, lowest, tuple(refusals))


def _alone(name: str, *data: Mapping[str, Any]) -> Settings:
    """Build settings from these sources alone, without the environment; messages call the first `name`."""
    token, other, bare = _files.set(data), _lowest.set({}), _bare.set(True)
    try:
        return Settings()
    except ValidationError as err:
        raise _explain(err, [(name, data[0])]) from err
    finally:
        _files.reset(token)
        _lowest.reset(other)
        _bare.reset(bare)


def _built(overrides: Mapping[str, Any], files: _Files) -> Settings:
    """Build and check the settings of all sources."""
    token, other = _files.set((files.kept, files.own)), _lowest.set(files.lowest)
    try:
        return Settings(**dict(overrides))
    except ValidationError as err:
        raise _explain(err, files.layers(overrides)) from err
    finally:
        _files.reset(token)
        _lowest.reset(other)


def _environment() -> dict[str, Any]:
    try:
        return dict(EnvSettingsSource(Settings)())
    except SourceError as err:
        msg = f"a {PREFIX}* variable can't be read: {err}"
        raise SettingsError(msg, hint="write tables as GPUNB_PROVIDERS__VAST__KEY=...") from err


def _paths(cwd: Path | None) -> tuple[Path, ...]:
    project = project_file(cwd)
    return (project, paths.config_file()) if project else (paths.config_file(),)


def _check_project(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse a project's settings of addresses, keys and trust: its author may be untrusted."""
    tables = data.get("providers")
    named = [
        f"providers.{name}.{field}"
        for name, table in (tables.items() if isinstance(tables, Mapping) else ())
        for field in (table if isinstance(table, Mapping) else ())
        if field in _NOT_A_PROJECT_S
    ]
    if "secrets" in data:
        named.append("secrets")
    if named:
        why = "its author would get your keys"
        if named[0].endswith(".host_key"):
            why = "how a host proves who it is, is yours to say"
        msg = f"{path}: a project's file may not set {named[0]!r}: {why}"
        raise SettingsError(msg, hint=f"set it in {paths.config_file()}, if you mean it")


def _load(overrides: Mapping[str, Any], cwd: Path | None) -> Settings:
    _check_environment()
    return _finished(overrides, _read_files(cwd, overrides))


def _finished(overrides: Mapping[str, Any], files: _Files) -> Settings:
    settings = _built(overrides, files)
    _only_lower(settings, files)
    stand_ins: Mapping[str, Any] = files.lowest.get("providers", {})
    for name, one in stand_ins.items():
        # address and key are a pair: an account's key is for the real cloud alone
        settings.providers[name].key = SecretStr(str(one.get("key", "")))
    settings._simulated = frozenset(stand_ins)  # noqa: SLF001 - our own, set once
    settings._refused = files.refused  # noqa: SLF001
    if (
        "budget" in files.kept
        and "budget" not in files.own
        and not {"budget"} & {*overrides, *_environment()}
    ):
        settings._budget_most, settings.budget = settings.budget, None  # noqa: SLF001
    for table in settings.providers.values():
        if table.key is not None:
            log.add_secret(table.key.get_secret_value())
    return settings


def _only_lower(settings: Settings, files: _Files) -> None:
    """Refuse caps that a variable or an option would raise above the user's own file."""
    if "limits" not in files.own:
        return
    own = _alone(str(paths.config_file()), {"limits": files.own["limits"]}).limits
    looser = own.looser(settings.limits)
    if looser:
        name, value = looser[0], getattr(settings.limits, looser[0])
        msg = (
            f"limits.{name} = {value} allows more than your own {getattr(own, name)} in {paths.config_file()}"
        )
        raise SettingsError(msg, hint="caps can only be lowered by a variable; raise them in that file")


def _check_environment() -> None:
    # pydantic ignores a variable that is no field: a misspelt GPUNB_BUDGET would cost money
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        head = name.upper().split("__")[0]
        if not name.startswith(PREFIX) or head in known or name in _NOT_SETTINGS:
            continue
        # without the common prefix, which would make any two of them similar
        names = [one.removeprefix(PREFIX) for one in known]
        close = get_close_matches(head.removeprefix(PREFIX), names, n=1, cutoff=0.65)
        if close:
            msg = f"environment variable {name} is not a setting"
            raise SettingsError(msg, hint=f"did you mean {PREFIX}{close[0]}?")


def _explain(err: ValidationError, layers: list[tuple[str, Mapping[str, Any]]]) -> SettingsError:
    first = err.errors()[0]
    loc = [str(part) for part in first["loc"]]
    key = ".".join(loc)
    where = next((name for name, data in layers if _has(data, loc)), "the settings")
    if where == "environment":
        where = f"environment variable {PREFIX}{'__'.join(loc).upper()}"
    if first["type"] == "extra_forbidden":
        known = LimitsSettings if loc[0] == "limits" and len(loc) > 1 else Settings
        close = get_close_matches(loc[-1], list(known.model_fields), n=1, cutoff=0.5)
        msg = f"{where}: there is not a setting {key!r}"
        return SettingsError(
            msg, hint=f"did you mean {close[0]!r}?" if close else (typed("config") + " lists them all")
        )
    rule = first["msg"].removeprefix("Value error, ")
    value = "****" if _secret(key) else repr(first["input"])
    msg = f"{where}: setting {key!r} has the value {value}: {rule}"
    about = Settings.model_fields.get(loc[0])
    return SettingsError(msg, hint=f"{loc[0]} is: {about.description}" if about else None)


def _has(data: Any, loc: list[str]) -> bool:
    for part in loc:
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        else:
            return isinstance(data, list) and part.isdigit()
    return True


def _secret(key: str) -> bool:
    last = key.rsplit(".", 1)[-1].lower()
    return any(word in last for word in _SECRET_WORDS)


def origins(overrides: Mapping[str, Any] | None = None, cwd: Path | None = None) -> list[Origin]:
    """Every setting with its value and source, provider tables by dotted key.

    Raises
    ------
    SettingsError
        As `load`.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    _check_environment()
    files = _read_files(cwd, given)
    settings = _finished(given, files)
    layers = files.layers(given)

    def source(loc: list[str]) -> str:
        name = next((name for name, data in layers if _has(data, loc)), "default")
        return f"{PREFIX}{'__'.join(loc).upper()}" if name == "environment" else name

    plain = [name for name in Settings.model_fields if name not in ("secrets", "limits", "providers")]
    rows = [Origin(name, getattr(settings, name), source([name])) for name in plain]
    if settings.budget_most is not None:
        rows = [replace(row, source="default") if row.key == "budget" else row for row in rows]
        at = next(index for index, row in enumerate(rows) if row.key == "budget")
        rows.insert(at + 1, Origin("budget_most", settings.budget_most, str(files.project)))
    rows.append(Origin("secrets.min_trust", settings.secrets.min_trust, source(["secrets", "min_trust"])))
    for name, value in settings.limits:
        shown = ", ".join(value) if isinstance(value, list) else value
        rows.append(Origin(f"limits.{name}", shown, source(["limits", name])))
    for cloud, table in sorted(settings.providers.items()):
        for option, value in {**dict(table), **(table.model_extra or {})}.items():
            if value is None:
                continue
            loc = ["providers", cloud, option]
            hidden = isinstance(value, SecretStr) or _secret(option)
            rows.append(Origin(".".join(loc), "****" if hidden else value, source(loc)))
    return rows


def refused(cwd: Path | None = None) -> list[Refused]:
    """Settings of a project's file that are refused.

    Raises
    ------
    SettingsError
        As `load`.
    """
    return list(load(cwd=cwd).refused)
