"""``config``: each setting and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.cli.command import verb
from gpunb.presentation.result import Cell, Note, Result, Table
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("config", reads=True, example="config")
def command(context: Context) -> Result:  # noqa: ARG001
    """Show each setting, its value, and where it comes from.

    A value comes from the command line, else from GPUNB_<NAME> in the environment, else from the
    project's gpunb.toml (the nearest one upwards), else from your own settings file. A project's
    file may only narrow: a shorter lease, a smaller budget or disk, fewer of your clouds.
    """
    from gpunb import paths, settings, units

    rows = settings.origins()
    about = {name: field.description or "" for name, field in settings.Settings.model_fields.items()}
    about["budget_most"] = "a project's limit, US dollars: the lesser of it and price x hours x 1.2 holds"
    about["secrets.min_trust"] = about["secrets"].partition(": ")[2]
    for table in ("check", "limits", "agent", "notify"):
        model = settings.Settings.model_fields[table].default
        for name, field in type(model).model_fields.items():
            about[f"{table}.{name}"] = field.description or ""
    shown = [
        [
            Cell(row.key, "strong"),
            units.duration_text(row.value) if row.key == "idle" else _text(row.value),
            Cell(row.source, "dim" if row.source == "default" else "info"),
            about.get(row.key, ""),
        ]
        for row in rows
    ]
    project = settings.project_file()
    refused = settings.refused()
    return Result(
        {
            "settings": [{"key": row.key, "value": row.value, "source": row.source} for row in rows],
            "user_file": str(paths.config_file()),
            "project_file": str(project) if project else None,
            "refused": [
                {"key": one.key, "value": one.value, "why": one.why, "source": one.source, "hint": one.hint}
                for one in refused
            ],
        },
        Table(["setting", "value", "from", "what it is"], shown),
        *(Note(clean(f"refused: {one.text()}"), "warn") for one in refused),
        Note(
            f"your file: {paths.config_file()}{'' if paths.config_file().exists() else ' (not there)'}", "dim"
        ),
        Note(f"the project's file: {project or 'none found upwards from here'}", "dim"),
    )


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
