"""Options of the verbs that start a run."""

from __future__ import annotations

import click

__all__ = ["ENV", "MODULE", "PARAMETER", "SECRET"]

MODULE = click.option("-m", "module", metavar="MODULE", help="Run a module instead of a script.")
ENV = click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable for the run.")
SECRET = click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME",
    help="Give this run the secret NAME: from here's environment, the keyring, or typed.",
)
PARAMETER = click.option(
    "-p",
    "--parameter",
    "values",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a notebook's parameter.",
)
