"""The command line: ``python -m benchmarks [--list] [--repeats N] [--rtt-ms 0,50] [--hosts ssh] NAME...``."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from difflib import get_close_matches
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

import benchmarks
from benchmarks import Options, Report


def names() -> list[str]:
    """The benchmarks that are there, sorted; nothing is imported."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def summary(name: str) -> str:
    """The first line of the benchmark's docstring, read without running it."""
    source = Path(benchmarks.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _known(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if value == ("all",):
        return tuple(names())
    for name in value:
        if name not in names():
            close = get_close_matches(name, names(), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            msg = f"there is no benchmark {name!r} (there are: {', '.join(names())}){hint}"
            raise click.BadParameter(msg)
    return value


def _trips(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...]:
    if value is None:
        return ()
    try:
        found = tuple(float(word) for word in value.split(","))
    except ValueError:
        found = (-1.0,)
    if not all(0 <= trip <= 2000 for trip in found):
        msg = f"{value!r}: must be round trips in ms, from 0 to 2000, such as 0,50"
        raise click.BadParameter(msg)
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("wanted", metavar="NAME...", nargs=-1, callback=_known)
@click.option("--list", "listing", is_flag=True, help="Say which benchmarks there are.")
@click.option("--repeats", type=click.IntRange(min=1), help="Measure each thing so often.")
@click.option("--rtt-ms", callback=_trips, metavar="MS,MS", help="Round trips to measure at (sync).")
@click.option(
    "--hosts",
    type=click.Choice(["plain", "ssh"]),
    default="plain",
    help="Where cells and sync are measured: a plain sshd, or a session of provider ssh on one.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 if a bar is not met.")
def main(
    *,
    wanted: tuple[str, ...],
    listing: bool,
    repeats: int | None,
    rtt_ms: tuple[float, ...],
    hosts: str,
    strict: bool,
) -> None:
    """Run benchmarks, or ``all``. The last line of each is one line of JSON; the bars of several end it."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    if listing or not wanted:
        for name in names():
            console.print(Text(f"{name:12} {summary(name)}"))
        return
    missed, bars = 0, []
    for name in wanted:
        options = Options(repeats=repeats, rtt_ms=rtt_ms, hosts=hosts)
        report = importlib.import_module(f"benchmarks.{name}").run(options)
        if not isinstance(report, Report):
            msg = f"benchmarks.{name}.run returned {type(report).__name__}, not a Report"
            raise TypeError(msg)
        report.show(console, summary(name))
        click.echo(report.json(name))
        missed += not report.ok
        bars += [(name, bar) for bar in report.bars]
    if len(wanted) > 1:
        for name, bar in bars:
            console.print(Text(f"{name:12} {bar.line()}", style="green" if bar.ok else "bold red"))
    if strict and missed:
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
