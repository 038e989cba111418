"""The command line: ``python -m tests.live CLOUD --budget USD [--out FOLDER]``; see `make live`."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from gpunb import paths
from gpunb.cli.main import run as gpunb
from gpunb.services.workspace import Workspace
from gpunb.sessions.access import host_access
from gpunb.sessions.ledger.sessions import Ledger
from tests.live.recording import Recorder, Scrubber

NAME = "live"
ABOUT = """\
Recorded from a rental at {cloud} by `make live`: each request of the story below with its answer, in order.
Keys, addresses, names and scripts are replaced; look once more before you attach this folder to an issue.
What a detached supervisor asked meanwhile is not here. So far `make live` itself was tried with the simulated
clouds only: what a real one answers otherwise is what this folder is for.
"""


def story(cloud: str, budget: str) -> list[dict[str, Any]]:
    """Rent the cheapest machine for 15 minutes, use it, end it; whatever fails, it is ended.

    Returns
    -------
    Each line that was typed, with its exit code and the seconds that it took.
    """
    steps: list[dict[str, Any]] = []

    def typed(*words: str) -> bool:
        began = time.monotonic()
        click.echo(f"$ gpunb {' '.join(words)}")
        code = gpunb(list(words))
        steps.append({"typed": list(words), "code": code, "seconds": round(time.monotonic() - began, 1)})
        return code == 0

    rent = ["rent", "order", "by", "total", "--cloud", cloud, "--gpus", "1", "--for", "15m", "--idle", "10m"]
    with tempfile.TemporaryDirectory(prefix="gpunb-live-") as folder:
        sent = Path(folder) / "sent"
        sent.mkdir()
        (sent / "a.bin").write_bytes(os.urandom(1 << 20))
        try:
            _ = (
                typed(*rent, "--budget", budget, "--name", NAME, "--yes")
                and typed("cell", NAME, "-c", "print(6 * 7)")
                and typed("sync", str(sent), f"{NAME}:sent")
                and typed("run", NAME, "--shell", "ls -l sent; nvidia-smi -L")
            )
        finally:
            if _alive():
                typed("down", NAME, "--yes")
            host_access.close_all()
    return steps


def _alive() -> bool:
    with Ledger.open() as ledger:
        return any(one.name == NAME for one in ledger.sessions())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("cloud")
@click.option("--budget", required=True, help="US dollars that the rental may cost at most.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/live"), show_default=True)
def main(cloud: str, budget: str, out: Path) -> None:
    """Rent the cheapest machine of CLOUD for 15 minutes, and keep all that the cloud answered.

    The budget is the yes: nothing more is asked.
    """
    if _alive():
        raise click.ClickException(f"there is a session {NAME} already: gpunb down {NAME}")
    with Workspace() as workspace:
        provider = workspace.provider(cloud)
        key = provider.config.key.get_secret_value() if provider.config.key else ""
        with Ledger.open() as ledger:
            own = ledger.installation
    folder = out / f"{cloud}-{time.strftime('%Y%m%d-%H%M%S')}"
    paths.private_dir(folder)
    with Recorder(provider.base_url).running() as recorder:
        steps = story(cloud, budget)
    scrub = Scrubber([key, own])
    count = recorder.write(folder, scrub, f"make live, {cloud}, {time.strftime('%Y-%m-%d')}")
    (folder / "README.md").write_text(ABOUT.format(cloud=cloud), "utf-8")
    (folder / "story.json").write_text(json.dumps(scrub.value(steps), indent=1) + "\n", "utf-8")
    click.echo(f"{count} calls in {folder}: look once more before you attach it to an issue")
    if _alive() or any(one["code"] for one in steps):
        raise SystemExit(1)


if __name__ == "__main__":
    main(prog_name="python -m tests.live")
