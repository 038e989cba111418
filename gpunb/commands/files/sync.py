"""``sync``: copy files to the host and back, by a plan that ``--dry-run`` shows."""

from __future__ import annotations

import posixpath
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import no_use, verb
from gpunb.commands.parts import object_stores, vast_cloud_copy
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.services.transfers import estimate_text, follow, move, relay, split, summary
from gpunb.sessions.model import SessionState
from gpunb.units import bytes_text, files_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session
    from gpunb.sync import Plan, SyncReport

__all__ = ["command"]

SHOWN = 40


@verb(
    "sync",
    session=True,
    undone="nothing was moved",
    example="sync data :data\nsync :out out\nsync src train:src --delete -n\nsync s3://bucket/set :data\n"
    "sync src :src --watch\nsync --via vast",
)
@click.argument("paths", metavar="SRC... DST", nargs=-1, type=click.Path())
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan; move nothing.")
@click.option("--delete", is_flag=True, help="Remove from DST what is not in SRC; what a rule hides stays.")
@click.option("--mirror", is_flag=True, help="As --delete, and what .gitignore or --exclude hides goes too.")
@click.option("--watch", is_flag=True, help="Sync again at each change here, until Ctrl-C.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Send what a rule would leave out.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out, as a line of .gitignore would.")
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    help="Also where nothing of DST would stay, or its volume is not mounted.",
)
@click.option("-L", "--follow-links", is_flag=True, help="Send what links out of SRC lead to.")
@click.option("--checksum", is_flag=True, help="Compare by content, not by size and time.")
@click.option("--limit-rate", metavar="RATE", help="Bytes a second, such as 500k or 10M.")
@object_stores.options
def command(
    context: Context,
    *,
    paths: tuple[str, ...],
    session: str | None,
    watch: bool,
    limit_rate: str | None,
    **options: Any,
) -> Result:
    """Copy files to the host or back. The host's side is written :path or SESSION:path.

    The other side is a path here, another SESSION:path, or s3://, gs://, az://, hf://, http(s):// and any
    fsspec URL. From host to host it goes straight where the one reaches the other (never with --via here),
    else through here.

    A path on the host begins at its home folder. .git, virtual environments and caches stay here,
    and what .gpunbignore (or .gitignore) names. Of several SRC each lands in DST under its own name.

    Without paths, --via vast lists the storages linked to the account, and the copies that --every made.
    """
    if not paths and object_stores.by_cloud(options["via"]):
        others = (*options, "dry_run", "delete", "mirror", "yes", "include", "exclude", "checksum", "watch")
        no_use(
            f"--via {options['via']} without paths", *(one for one in (*others, "limit_rate") if one != "via")
        )
        one = None if session is None else context.session(session)
        return vast_cloud_copy.listed(context, options["via"], one)
    moves = ("dry_run", "delete", "mirror", "yes", "include", "exclude", "checksum")
    plain = {name: options.pop(name) for name in moves}
    plain["follow"] = options.pop("follow_links")
    if len(paths) < 2:
        msg = f"sync {repr(paths[0]) if paths else 'without paths'}: must have a SRC and a DST"
        raise BadInput(msg, hint="sync data :data")
    *sources, target = paths
    if any(object_stores.is_url(path) for path in paths):
        if len(sources) > 1 or watch or limit_rate or plain.pop("mirror") or plain.pop("follow"):
            msg = "sync with a URL: takes one SRC, and no --watch, --mirror, --follow-links or --limit-rate"
            raise BadInput(msg)
        plain.pop("follow", None)
        plain.pop("mirror", None)
        plain.pop("yes")
        return object_stores.run(context, sources[0], target, session, **plain, **options)
    if options.get("via") == "here" and all(split(path) is not None for path in paths):
        options["via"], plain["direct"] = None, False
    object_stores.refuse(options)
    if limit_rate is not None:
        from gpunb.sync.throttle import parse_rate

        plain["limit_rate"] = parse_rate(limit_rate)
    ends = [split(source) for source in sources]
    up = split(target)
    if len({end is None for end in ends}) > 1:
        msg = f"sync {' '.join(map(repr, paths))}: of several SRC all are here, or all on a host"
        raise BadInput(msg)
    if up is None and ends[0] is None:
        msg = f"sync {' '.join(map(repr, paths))}: one of the two, and only one, must be on the host"
        raise BadInput(msg, hint="write the host's side with a colon: sync data :data, or sync :out out")
    if up is not None and ends[0] is not None:
        return _between(context, [end for end in ends if end is not None], up, paths, watch=watch, **plain)
    found = context.session(_one_name([*ends, up], session))
    several = len(sources) > 1
    if found.state is SessionState.STOPPED and up is None:
        return _from_stopped(context, found, ends, target, paths, plain)
    if watch:
        return _follow(context, found, sources, up, plain)
    results = [
        move(
            context,
            found,
            end[1] if end is not None else source,
            _under(up[1] if up is not None else target, end[1] if end is not None else source, several),
            direction="up" if up is not None else "down",
            **plain,
        )
        for source, end in zip(sources, ends, strict=True)
    ]
    return _results(results, found, dry_run=plain["dry_run"])


def _from_stopped(  # noqa: PLR0917 - one call
    context: Context,
    session: Session,
    ends: list[tuple[str | None, str] | None],
    target: str,
    paths: tuple[str, ...],
    plain: dict[str, Any],
) -> Result:
    if len(ends) > 1 or ends[0] is None:
        msg = f"sync {' '.join(map(repr, paths))}: from a stopped session one SRC goes at a time"
        raise BadInput(msg, bill="nothing was moved")
    _only_plain(plain, f"from {session.name}, which is stopped")
    done = vast_cloud_copy.here(context, session, ends[0][1], target, dry_run=plain["dry_run"])
    return done if isinstance(done, Result) else _result(done, session, dry_run=False)


def _one_name(ends: list[tuple[str | None, str] | None], session: str | None) -> str | None:
    """The one session that the sides name, if any does."""
    names = {end[0] for end in ends if end is not None and end[0]}
    if session:
        names.add(session)
    if len(names) > 1:
        shown = " and ".join(sorted(names))
        msg = f"sync: {shown} are two sessions for one side"
        raise BadInput(msg, hint="leave --session out, or name the same session everywhere")
    return next(iter(names), None)


def _under(target: str, source: str, several: bool) -> str:  # noqa: FBT001
    """The target of a source: of several, under its own name."""
    if not several:
        return target
    name = posixpath.basename(posixpath.normpath(source))
    if name in ("", ".", "..", "/"):
        msg = f"source {source!r}: has no name of its own to land under, among several"
        raise BadInput(msg, hint="sync it by itself")
    return posixpath.join(target, name)


def _only_plain(plain: dict[str, Any], why: str) -> None:
    """Refuse options that the cloud's own copy does not support."""
    given = [name for name, value in plain.items() if value and name not in ("dry_run", "yes", "direct")]
    if given:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        msg = f"sync {why}: the cloud's own copy knows no {shown}"
        raise BadInput(msg, bill="nothing was moved", hint="start it first, or leave that out")


def _between(
    context: Context,
    ends: list[tuple[str | None, str]],
    up: tuple[str | None, str],
    paths: tuple[str, ...],
    *,
    watch: bool,
    **plain: Any,
) -> Result:
    if watch:
        msg = "--watch: SRC must be here; the changes of a host are not seen"
        raise BadInput(msg)
    if any(end[0] is None for end in (*ends, up)):
        msg = f"sync {' '.join(map(repr, paths))}: one of the two, and only one, must be on the host"
        raise BadInput(msg, hint="from one host to another, name both sessions: sync one:out two:in")
    two = context.session(up[0])
    results = []
    for name, path in ends:
        session = context.session(name)
        if session.id == two.id:
            msg = f"sync {name}:{path} {up[0]}:{up[1]}: both are on {session.name}"
            raise BadInput(msg, hint=typed("exec --session", session.name, "--", "cp", "-a", path, up[1]))
        target = _under(up[1], path, len(ends) > 1)
        if session.state is SessionState.STOPPED:
            if len(ends) > 1:
                msg = f"sync {name}:{path}: from a stopped session one SRC goes at a time"
                raise BadInput(msg, bill="nothing was moved")
            _only_plain(plain, f"from {session.name}, which is stopped")
            return vast_cloud_copy.between(context, session, path, two, target, dry_run=plain["dry_run"])
        results.append(relay(context, (session, path, two, target), **plain))
    return _results(results, two, dry_run=plain["dry_run"])


def _follow(
    context: Context,
    session: Session,
    sources: list[str],
    up: tuple[str | None, str] | None,
    plain: dict[str, Any],
) -> Result:
    if up is None or len(sources) > 1 or plain["dry_run"]:
        msg = "--watch: takes one SRC, which must be here, and no --dry-run"
        raise BadInput(msg)
    reports = follow(context, session, sources, up[1], **plain)
    if not reports:
        return Result({"session": session.name}, Note("stopped before the first sync was over", "warn"))
    return _results(reports[-1:], session, dry_run=False)


def _results(reports: list[SyncReport], session: Session, *, dry_run: bool) -> Result:
    if len(reports) == 1:
        return _result(reports[0], session, dry_run=dry_run)
    single = [_result(report, session, dry_run=dry_run) for report in reports]
    blocks = [block for result in single for block in result.blocks]
    data = {"session": session.name, "dry_run": dry_run, "syncs": [result.data() for result in single]}
    return Result(data, *blocks, exit_code=max(result.exit_code for result in single))


def _result(report: SyncReport, session: Session, *, dry_run: bool) -> Result:
    plan = report.plan
    blocks: list[Block] = [Note(text, "warn") for text in plan.notes]
    if dry_run:
        blocks += _plan_blocks(plan, report)
    else:
        blocks.append(Note(summary(report), "warn" if report.failed else "ok"))
    blocks += [Note(f"not moved: {path}: {reason}", "bad") for path, reason in report.failed[:SHOWN]]
    if len(report.failed) > SHOWN:
        blocks.append(Note(f"and {len(report.failed) - SHOWN} more (--json lists them)", "bad"))
    data = {"session": session.name, "dry_run": dry_run, **report.data()}
    return Result(data, *blocks, exit_code=1 if report.failed else 0)


def _plan_blocks(plan: Plan, report: SyncReport) -> list[Block]:
    out = plan.left_out
    groups: list[tuple[Cell, int, list[tuple[str, str, str]]]] = [
        (
            Cell("go", "ok"),
            len(plan.items),
            [(i.path, bytes_text(i.size), "") for i in islice(plan.items, SHOWN)],
        ),
        (Cell("stay", "dim"), len(out), [(o.path, "", o.rule) for o in out[:SHOWN]]),
        (Cell("can't go", "bad"), len(plan.blocked), [(path, "", why) for path, why in plan.blocked[:SHOWN]]),
        (
            Cell("delete", "bad"),
            len(plan.deletions),
            [(path, "", "not in the source") for path in plan.deletions[:SHOWN]],
        ),
    ]
    rows: list[list[object]] = []
    for word, count, entries in groups:
        rows += [[word, *entry] for entry in entries]
        if count > SHOWN:
            rows.append([word, f"and {count - SHOWN} more (--json lists them)", "", ""])
    blocks: list[Block] = [Table(["", "path", ">size", "why"], rows)] if rows else []
    there = f"; {len(plan.unchanged)} are there already" if plan.unchanged else ""
    size = bytes_text(plan.total_bytes)
    text = f"{files_text(len(plan.items))}, {size} would go{there}; nothing was moved"
    blocks.append(Note(text, "strong"))
    if len(plan.items) > SHOWN:
        largest = ", ".join(f"{item.path} ({bytes_text(item.size)})" for item in plan.largest(3))
        blocks.append(Note(f"the largest: {largest}", "dim"))
    if plan.items and report.engine:
        blocks.append(Note(f"by {report.engine}: {report.why}", "dim"))
    costs = estimate_text(report.estimate_s, report.estimate_usd)
    if costs:
        blocks.append(Note(costs, "dim"))
    return blocks
