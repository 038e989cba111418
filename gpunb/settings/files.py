"""The settings files: the project's, of which only what narrows is taken, and the user's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb import paths
from gpunb.errors import SettingsError
from gpunb.paths import FILE_NAME, project_file
from gpunb.settings.build import alone, built, environment
from gpunb.settings.project import Refused, narrow

if TYPE_CHECKING:
    from pathlib import Path

# tomli is tomllib's own ancestor, for Python 3.10
tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

__all__ = ["FILE_NAME", "Files", "project_file", "read_files", "tomllib"]

SIMULATED = "gpunb sim up"
_NOT_A_PROJECT_S = frozenset(["base_url", "key", "options", "host_key"])


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
        result: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as err:
        msg = f"{path} can't be read: {err.strerror}"
        raise SettingsError(msg) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        msg = f"{path} is not a TOML file: {err}"
        raise SettingsError(msg, hint="see https://toml.io for the format, or move the file away") from err
    return result


@dataclass(frozen=True, slots=True)
class Files:
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
            ("environment", environment()),
        ]
        if self.project is not None:
            found.append((str(self.project), self.kept))
        return [*found, (str(paths.config_file()), self.own), (SIMULATED, self.lowest)]


def read_files(cwd: Path | None, overrides: Mapping[str, Any]) -> Files:
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
        lowest = _simulated([("", overrides), ("", environment()), ("", own)])
        return Files(None, {}, {}, own, lowest)
    why = paths.not_ours(project)
    if why:
        lowest = _simulated([("", overrides), ("", environment()), ("", own)])
        refused = (Refused("(all of it)", "", why, str(project), f"copy what you want of it to {file}"),)
        return Files(project, {}, {}, own, lowest, refused)
    asked = _read(project)
    _check_project(project, asked)
    lowest = _simulated([("", overrides), ("", environment()), ("", asked), ("", own)])
    files = Files(project, asked, asked, own, lowest)
    built(overrides, files)  # a value that breaks its rule is named with its file
    kept, refusals = narrow(
        asked,
        alone(str(project), asked),
        alone(str(file), own, lowest),
        source=str(project),
        user_file=str(file),
    )
    return Files(project, asked, kept, own, lowest, tuple(refusals))


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
