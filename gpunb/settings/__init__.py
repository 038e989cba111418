"""Settings and their sources: command line > GPUNB_* > gpunb.toml > the user's file.

`model` has the settings, `build` builds and checks them, `files` reads the files, `project` narrows a
project's, `writing` changes the user's.

A project's gpunb.toml may only narrow what the rest allows; see `gpunb.settings.project`.

Below all of them are the simulated clouds, while ``gpunb sim up`` has put them in the place of
the real ones.

pydantic is slow to import, so a quick verb (``ps``) does not come here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from gpunb import log, paths
from gpunb.errors import SettingsError
from gpunb.settings.build import alone, built, environment, has, is_secret
from gpunb.settings.files import FILE_NAME, project_file, read_files
from gpunb.settings.model import (
    PREFIX,
    AgentSettings,
    CheckSettings,
    LimitsSettings,
    NotifySettings,
    ProviderSettings,
    SecretsSettings,
    Settings,
)
from gpunb.settings.project import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.settings.files import Files

__all__ = [
    "FILE_NAME",
    "AgentSettings",
    "CheckSettings",
    "LimitsSettings",
    "NotifySettings",
    "Origin",
    "ProviderSettings",
    "Refused",
    "SecretsSettings",
    "Settings",
    "load",
    "origins",
    "project_file",
    "refused",
]

# variables of ours that are not settings
_NOT_SETTINGS = frozenset({"GPUNB_HOME", "GPUNB_LEDGER", "GPUNB_AGENT_NAME"})


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
    if given:
        return _load(given, cwd)
    environ = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(PREFIX)))
    try:
        here = Path.cwd() if cwd is None else cwd
    except FileNotFoundError:
        here = Path("/")
    written = (repr(paths.simulation()), *((str(path), _stamp(path)) for path in _paths(here)))
    return _loaded(here, os.environ.get("GPUNB_HOME"), environ, written)


def _stamp(path: Path) -> tuple[int, ...]:
    """A value that changes when the file does."""
    try:
        facts = path.stat()
    except OSError:
        return (0, 0)
    return (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_mode, facts.st_uid)


def _paths(cwd: Path | None) -> tuple[Path, ...]:
    project = project_file(cwd)
    return (project, paths.config_file()) if project else (paths.config_file(),)


def _load(overrides: Mapping[str, Any], cwd: Path | None) -> Settings:
    _check_environment()
    return _finished(overrides, read_files(cwd, overrides))


def _finished(overrides: Mapping[str, Any], files: Files) -> Settings:
    settings = built(overrides, files)
    _only_lower(settings, files)
    stand_ins: Mapping[str, Any] = files.lowest.get("providers", {})
    for name, one in stand_ins.items():
        # address and key are a pair: an account's key is for the real cloud alone
        settings.providers[name].key = SecretStr(str(one.get("key", "")))
    settings._simulated = frozenset(stand_ins)  # noqa: SLF001 - our own, set once
    settings._refused = files.refused  # noqa: SLF001
    if "budget" in files.kept and "budget" not in files.own and not {"budget"} & {*overrides, *environment()}:
        settings._budget_most, settings.budget = settings.budget, None  # noqa: SLF001
    keys = [table.key for table in settings.providers.values()]
    for secret in (*keys, settings.notify.webhook, *settings.notify.to):
        if secret is not None:
            log.add_secret(secret.get_secret_value())
    return settings


def _only_lower(settings: Settings, files: Files) -> None:
    """Refuse caps that a variable or an option would raise above the user's own file."""
    if "limits" not in files.own:
        return
    own = alone(str(paths.config_file()), {"limits": files.own["limits"]}).limits
    looser = own.looser(settings.limits)
    if looser:
        name, value = looser[0], getattr(settings.limits, looser[0])
        msg = (
            f"limits.{name} = {value} allows more than your own {getattr(own, name)} in {paths.config_file()}"
        )
        raise SettingsError(msg, hint="caps can only be lowered by a variable; raise them in that file")


def _check_environment() -> None:
    if "agent" in environment():
        msg = "the caps of agents can't be set by a variable, which an agent could set itself"
        raise SettingsError(msg, hint=f"write them under [agent] in {paths.config_file()}")
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


def origins(overrides: Mapping[str, Any] | None = None, cwd: Path | None = None) -> list[Origin]:
    """Every setting with its value and source, provider tables by dotted key.

    Raises
    ------
    SettingsError
        As `load`.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    _check_environment()
    files = read_files(cwd, given)
    settings = _finished(given, files)
    layers = files.layers(given)

    def source(loc: list[str]) -> str:
        name = next((name for name, data in layers if has(data, loc)), "default")
        return f"{PREFIX}{'__'.join(loc).upper()}" if name == "environment" else name

    tables = ("check", "secrets", "limits", "agent", "notify", "providers")
    plain = [name for name in Settings.model_fields if name not in tables]
    rows = [Origin(name, getattr(settings, name), source([name])) for name in plain]
    if settings.budget_most is not None:
        rows = [replace(row, source="default") if row.key == "budget" else row for row in rows]
        at = next(index for index, row in enumerate(rows) if row.key == "budget")
        rows.insert(at + 1, Origin("budget_most", settings.budget_most, str(files.project)))
    rows.append(Origin("secrets.min_trust", settings.secrets.min_trust, source(["secrets", "min_trust"])))
    rows += [Origin(f"check.{name}", value, source(["check", name])) for name, value in settings.check]
    for table_name in ("limits", "agent", "notify"):
        for name, value in getattr(settings, table_name):
            rows.append(Origin(f"{table_name}.{name}", _shown(value), source([table_name, name])))
    for cloud, table in sorted(settings.providers.items()):
        for option, value in {**dict(table), **(table.model_extra or {})}.items():
            if value is None:
                continue
            loc = ["providers", cloud, option]
            hidden = isinstance(value, SecretStr) or is_secret(option)
            rows.append(Origin(".".join(loc), "****" if hidden else value, source(loc)))
    return rows


def _shown(value: Any) -> Any:
    """A value for people: a list in one line, secrets hidden."""
    if isinstance(value, list):
        return ", ".join(str(_shown(one)) for one in value)
    return "****" if isinstance(value, SecretStr) else value


def refused(cwd: Path | None = None) -> list[Refused]:
    """Settings of a project's file that are refused.

    Raises
    ------
    SettingsError
        As `load`.
    """
    return list(load(cwd=cwd).refused)
