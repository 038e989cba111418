"""Further lists of `offers`: images, templates, benchmarks, and renters' reports on a machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.providers import keys, names
from gpunb.providers.features import Benchmarks, Images, MachineReports, Templates, clouds_with, feature
from gpunb.services import searching
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context
    from gpunb.providers import Provider
    from gpunb.providers.machine.templates import Template

__all__ = ["shown"]

_T = TypeVar("_T")


def shown(context: Context, named: Sequence[str], mode: str, word: str) -> Result:
    """Show what the option `mode` of `offers` requests for `word`, from the clouds that have it."""
    if mode == "--images":
        return _images(_cloud(context, named, Images))
    if mode == "--templates":
        return _templates(_clouds(context, named, Templates), word)
    if mode == "--benchmarks":
        return _benchmarks(_cloud(context, named, Benchmarks), word)
    return _reports(_cloud(context, named, MachineReports), word)


def _clouds(context: Context, named: Sequence[str], wanted: type) -> list[Provider]:
    """The named clouds with that feature, else those in use, else all installed ones."""
    having = [one.name for one in clouds_with(wanted)]
    asked = searching.clouds(context, named) if named else keys.asked(context.settings, names())
    found = [name for name in asked if name in having] or (asked[:1] if named else having)
    return [context.provider(name) for name in found]


def _cloud(context: Context, named: Sequence[str], wanted: type[_T]) -> _T:
    return feature(_clouds(context, named, wanted)[0], wanted)


def _images(cloud: Images) -> Result:
    rows = [row for row in cloud.default_images() if isinstance(row, dict)]
    heads = [
        Column("image", wrap=True),
        Column("ports", drop=1, wrap=True),
        Column("variables", drop=2, wrap=True),
    ]
    cells = []
    for row in rows:
        ports = row.get("expose") or row.get("ports") or []
        env = row.get("environment") or []
        cells.append(
            [
                Cell(clean(row.get("image") or row.get("name") or row.get("slug"))[:120], "strong"),
                ", ".join(clean(port.get("port") if isinstance(port, dict) else port)[:12] for port in ports),
                ", ".join(clean(one.get("name") if isinstance(one, dict) else one)[:40] for one in env),
            ]
        )
    note = Note(
        typed("rent --cloud fluence --template NAME")
        + " takes one with its ports, variables and command; any other --image that runs SSH will do",
        "dim",
    )
    return Result(rows, Table(heads, cells) if cells else Note("no images", "dim"), note)


def _templates(clouds: Sequence[Provider], word: str) -> Result:
    notes: list[Block] = []
    found: list[tuple[str, Template]] = []
    for cloud in clouds:
        try:
            listed = feature(cloud, Templates).templates()
        except ANY as err:
            if len(clouds) == 1:
                raise
            notes.append(Note(clean(f"{cloud.name}: {words(err)}"), "warn"))
            continue
        fits = (
            template
            for template in listed
            if word.lower() in f"{template.id} {template.name} {template.image}".lower()
        )
        found += [(cloud.name, template) for template in fits]
    heads = [
        Column("cloud", drop=3),
        Column("id", wrap=True),
        Column("name", wrap=True),
        Column("image", drop=1, wrap=True),
        Column("disk GB", right=True, drop=2),
    ]
    data = [
        {
            "provider": cloud,
            "id": clean(template.id)[:64],
            "name": clean(template.name)[:80],
            "image": clean(template.image)[:120],
            "disk_gb": template.disk_gb or None,
        }
        for cloud, template in found
    ]
    cells = [
        [
            row["provider"],
            Cell(str(row["id"]), "strong"),
            row["name"],
            row["image"],
            f"{template.disk_gb:g}" if template.disk_gb else "",
        ]
        for row, (_, template) in zip(data, found, strict=True)
    ]
    if not cells:
        asked = " and ".join(provider.title for provider in clouds)
        return Result(data, *notes, Note(f"{asked}: no template with {word!r} in its name", "dim"))
    return Result(
        data, Table(heads, cells), *notes, Note(typed("rent --template ID") + " begins from one", "dim")
    )


def _reports(cloud: MachineReports, machine: str) -> Result:
    reports = cloud.machine_reports(machine)
    data = [
        {"problem": report.problem, "message": report.message, "created_at": report.created_at}
        for report in reports
    ]
    if not reports:
        return Result(data, Note(f"no problem of machine {machine} was reported lately", "ok"))
    cells = []
    for report in reports:
        at = report.created_at
        when = time.strftime("%Y-%m-%d", time.localtime(at)) if isinstance(at, float) else clean(at)[:20]
        cells.append([when, Cell(clean(report.problem)[:80], "warn"), clean(report.message)[:300]])
    heads = [Column("when", drop=1), Column("problem", wrap=True), Column("what they say", wrap=True)]
    return Result(data, Table(heads, cells))


def _benchmarks(cloud: Benchmarks, of: str) -> Result:
    benchmarks = cloud.benchmarks(of)
    data = [
        {
            "machine": benchmark.machine_id,
            "gpu": clean(benchmark.gpu_name)[:80],
            "gpus": benchmark.num_gpus,
            "type": clean(benchmark.type)[:40],
            "value": benchmark.value,
            "image": clean(benchmark.image)[:120],
            "at": benchmark.last_update,
        }
        for benchmark in benchmarks
    ]
    if not benchmarks:
        return Result(data, Note(f"no benchmarks of {of}", "dim"))
    heads = [
        Column("machine"),
        Column("gpu", wrap=True),
        Column("type", drop=2),
        Column("value", right=True),
        Column("image", drop=1, wrap=True),
        Column("when", drop=3),
    ]
    cells = [
        [
            "" if benchmark.machine_id is None else str(benchmark.machine_id),
            f"{benchmark.num_gpus}x {clean(benchmark.gpu_name)[:80]}",
            clean(benchmark.type)[:40],
            Cell("" if benchmark.value is None else f"{benchmark.value:g}", "strong"),
            clean(benchmark.image)[:120],
            time.strftime("%Y-%m-%d", time.localtime(benchmark.last_update)) if benchmark.last_update else "",
        ]
        for benchmark in benchmarks
    ]
    note = (
        "values of one type and image compare; "
        + typed("offers 'machine_id = N' finds")
        + " a machine's offers"
    )
    return Result(data, Table(heads, cells), Note(note, "dim"))
