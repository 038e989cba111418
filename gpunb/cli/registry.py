"""The list of verbs, in the groups of ``gpunb -h``; a verb's module is imported when it is called."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

import click

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import EntryPoint

__all__ = [
    "ALIASES",
    "GROUPS",
    "RENAMED",
    "SHOWN",
    "VERBS",
    "LazyGroup",
    "further_verbs",
    "load",
    "module_name",
    "spelled",
    "split",
]

# group -> verb -> what it does; the module is gpunb.commands.<FOLDERS[group]>.<the verb's last word>
GROUPS: dict[str, dict[str, str]] = {
    "Rent": {
        "offers": "Find machines that can be rented now, best first.",
        "rent": "Rent a machine and make it ready for cells.",
        "extend": "Give a session more time, idle time or money.",
        "stop": "Stop a session and keep its disk.",
        "start": "Start a stopped session.",
        "reboot": "Restart a session's machine; its disk stays.",
        "update": "Change the image, variables or start command of a container.",
        "move": "Move a session to another machine, with files and variables.",
        "rename": "Give a session another name.",
        "volumes": "Show disks that outlive machines, and delete them.",
        "down": "End sessions for good, and get a receipt.",
    },
    "Run": {
        "on": "Run all cells of the notebook on the host.",
        "off": "Run cells here again.",
        "cell": "Run code in the host's kernel from a terminal.",
        "once": "Rent, send, run, bring back, end: one command.",
        "run": "Run a script on the host as a job.",
        "exec": "Run one command on the host and wait for it.",
        "runs": "List the cells and jobs that were run.",
        "logs": "Print a run's output, or show it with its pictures.",
        "attach": "Play a run's output from its first line and follow it.",
        "export": "Write a notebook from what was run.",
        "cancel": "End a run.",
        "restart": "Give the host a new kernel.",
        "put": "Send variables of the notebook to the host.",
        "get": "Bring variables of the host into the notebook.",
        "pip": "Install packages in the host's Python.",
    },
    "Files and ports": {
        "sync": "Copy files to the host or back.",
        "forward": "Forward a port of the host to this machine.",
        "ssh": "Open a shell on the host.",
        "code": "Open an editor on the host.",
    },
    "Watch": {
        "ps": "Show the sessions, what they run and what they cost.",
        "show": "Show everything known about one session.",
        "top": "Show the host's load, live.",
        "panel": "Show all sessions, live, with what they cost.",
        "cost": "Show what was spent, by session, day, cloud or run.",
        "receipts": "List the receipts of ended sessions, or show one.",
    },
    "Account": {
        "login": "Check a cloud's key and keep it.",
        "logout": "Forget a cloud's key.",
        "hosts": "Show your own machines, add one, or look whether it can be used.",
        "keys": "Show your keys at the clouds, and revoke one.",
        "trust": "Show or set how far a session's host is trusted.",
        "doctor": "Check the installation, the clouds' keys and the ledger.",
        "config": "Show each setting and where it comes from.",
        "limits": "Show the caps over all sessions, and what is left.",
        "notify": "Show where notices go and the last ones, or send a test.",
        "skill": "Print how coding agents use gpunb, or install it for them.",
        "supervise": "Watch leases until the last session has ended.",
        "completion": "Print the lines that make your shell complete gpunb.",
    },
    "Vast.ai": {
        "vast bid": "Change the bid for an interruptible machine.",
        "vast prepay": "Pay for a machine in advance, for a discount.",
        "vast increases": "Show, accept or refuse price increases that hosts ask for.",
        "vast snapshot": "Push a machine's container to your registry as an image.",
        "vast variables": "Show and set what every container of your account is given.",
    },
}
#: The verbs that ``gpunb -h`` explains; it names the others.
SHOWN = frozenset([
    "offers", "rent", "extend", "stop", "start", "down", "on", "once", "run", "exec", "runs", "logs",
    "cancel", "sync", "ssh", "ps", "show", "cost", "login", "doctor",
])  # fmt: skip
WIDEST = max(map(len, SHOWN))
FOLDERS = {
    "Rent": "renting",
    "Run": "running",
    "Files and ports": "files",
    "Watch": "watching",
    "Account": "account",
    "Vast.ai": "vast",
}
VERBS: dict[str, str] = {verb: text for verbs in GROUPS.values() for verb, text in verbs.items()}
#: Verbs of one cloud stand behind its name, ``gpunb vast bid``; cloud -> its group.
CLOUDS = {verb.split()[0]: group for group, verbs in GROUPS.items() for verb in verbs if " " in verb}
#: Aliases known from other tools.
ALIASES = {
    "ls": "ps",
    "list": "ps",
    "status": "ps",
    "terminate": "down",
    "destroy": "down",
    "search": "offers",
}
#: Names of version 0.1.0, which work for one version more.
RENAMED = {
    "jobs": "runs --jobs",
    "replay": "logs --rich",
    "bid": "vast bid",
    "prepay": "vast prepay",
    "increases": "vast increases",
    "snapshot": "vast snapshot",
    "variables": "vast variables",
}


@cache
def further_verbs() -> dict[str, EntryPoint]:
    """Verbs of other packages: the entry-point group ``gpunb.verbs``, not imported yet."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="gpunb.verbs") if point.name not in VERBS}


def module_name(verb: str) -> str:
    """The module of the verb called `verb`, one of `VERBS`."""
    group = next(group for group, verbs in GROUPS.items() if verb in verbs)
    return f"gpunb.commands.{FOLDERS[group]}.{verb.rpartition(' ')[2]}"


def load(verb: str) -> click.Command:
    """Import the verb called `verb`, one of `VERBS`."""
    command: click.Command = importlib.import_module(module_name(verb)).command
    return command


def split(args: Sequence[str]) -> tuple[str, list[str]]:
    """Return the verb that `args` begin with, ``vast bid`` too, and the words after it; "" is no verb."""
    for count in (2, 1):
        verb = " ".join(args[:count])
        if len(args) >= count and verb in VERBS:
            return verb, list(args[count:])
    return "", list(args)


def spelled(args: Sequence[str]) -> list[str]:
    """Resolve aliases and old names in `args`, and turn ``help VERB`` and ``version`` into options."""
    if not args:
        return []
    first, *rest = args
    if first == "help":
        return [*spelled(rest), "--help"]
    if first == "version" and not rest:
        return ["--version"]
    if first in RENAMED:
        return [*RENAMED[first].split(), *rest]
    return [ALIASES.get(first, first), *rest]


def _words(verbs: Iterable[str]) -> str:
    """The verbs of a cloud without its name."""
    return " ".join(verb.split()[1] for verb in verbs)


class _Group(click.Group):
    """A group that suggests a verb for a misspelt one, and says where to read more."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, with a suggestion for a misspelt verb."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            known = self.list_commands(ctx)
            msg = f"{self.name} has no verb {name!r}" if self.name in CLOUDS else f"there is no verb {name!r}"
            hint = did_you_mean(name, known)
            if name in {"kill", "end", "delete"}:
                hint = typed("down") + " ends a session, " + typed("cancel") + " a run"
            raise BadInput(msg, hint=hint or f"{ctx.command_path} -h lists the verbs")
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the epilog: where to read more."""
        formatter.write(f"{ctx.command_path} VERB -h shows a verb's options and an example.\n")


class CloudGroup(_Group):
    """The verbs of one cloud, under its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the cloud's verbs, without its name."""
        return _words(GROUPS[CLOUDS[str(self.name)]]).split()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the cloud's verb called `cmd_name`, or None."""
        verb = f"{self.name} {cmd_name}"
        return load(verb) if verb in VERBS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the list of verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, VERBS[f"{self.name} {verb}"]) for verb in self.list_commands(ctx)])
        formatter.write("\n")


class LazyGroup(_Group):
    """All verbs, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the verbs in the order of a rental, then the clouds, then verbs of other packages."""
        return [*(verb for verb in VERBS if " " not in verb), *CLOUDS, *sorted(further_verbs())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the verb or the cloud's group called `cmd_name`, or None."""
        if cmd_name in CLOUDS:
            return CloudGroup(
                cmd_name,
                help=f"What only {CLOUDS[cmd_name]} has.",
                context_settings={"help_option_names": ["-h", "--help"]},
            )
        if cmd_name in VERBS:
            return load(cmd_name)
        outside = further_verbs().get(cmd_name)
        if outside is None:
            return None
        try:
            loaded: click.Command = outside.load()
        except ImportError as err:
            extra = f"[{cmd_name}]" if outside.value.startswith("gpunb.") else ""
            name = outside.dist.name if outside.dist else "gpunb"
            msg = f"the verb {cmd_name!r} can't be loaded: {err}"
            raise BadInput(msg, hint=f"pip install '{name}{extra}'") from err
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as `_Group` does; completion knows the old names, too."""
        return super().resolve_command(ctx, spelled(args) if ctx.resilient_parsing else args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Format the list of verbs without importing them."""
        for group, verbs in GROUPS.items():
            if group in CLOUDS.values():
                continue
            formatter.write(f"{group}:\n")
            rows = [(verb, text) for verb, text in verbs.items() if verb in SHOWN]
            also = [verb for verb in verbs if verb not in SHOWN]
            if group == "Account":
                also += sorted(further_verbs())
            if also:
                rows.append(("also", " ".join(also)))
            if group == "Rent":
                rows += [
                    (name, f"only on {title}: {_words(GROUPS[title])}") for name, title in CLOUDS.items()
                ]
            formatter.indent()
            formatter.write_dl([(verb.ljust(WIDEST), text) for verb, text in rows])
            formatter.dedent()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format all options in one line, to leave space for the verbs."""
        formatter.write("\n")
        self.format_commands(ctx, formatter)
        formatter.write("\nOptions: -v more in the log (-vv: debug); --version; -h, --help\n")
