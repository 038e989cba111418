"""``pip``: run pip in the host's Python, which cells and jobs use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.presentation.result import Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("pip", example="pip install scikit-learn==1.5.2\npip list", session=True, words_after=True)
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...", type=click.UNPROCESSED)
def command(context: Context, *, words: tuple[str, ...], session: str | None) -> Result:
    """Run pip in the host's Python, the one that cells and scripts use there.

    Where that Python has no pip, uv does it. It runs as a job: a broken line does not end it. The
    kernel finds what was installed without a restart, unless another version is loaded already.
    """
    from gpunb.services.running import host_python, runs

    found = context.session(session)
    client = context.agent(found)
    label = f"pip {' '.join(words)}"[:80]
    with runs.noted(context, found, kind="job", name=label) as run_id:
        handle = client.run_job(host_python.pip(client, words), name=label, run_id=run_id)
    info = runs.follow(context, handle, context.sink(run_id))
    host_python.refresh(client)
    return Result({"run": run_id, "session": found.name, "state": info.state, "exit_code": info.exit_code})
