"""A notebook is asked before something costs or ends, and knows what it has rented itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpunb.cli.main import run
from gpunb.providers.local import LocalProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.machines.kernel import Notebook, Outcome

pytestmark = pytest.mark.slow


@pytest.fixture
def priced(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "gpunb.toml").write_text("[providers.local]\nusd_h = 1.5\n")


def asked(notebook: Notebook, cell: str, answer: str) -> tuple[str, Outcome]:
    """What a cell asks, and what came of `answer`."""
    message = notebook.start(cell)
    end = time.monotonic() + 60
    while not notebook.client.stdin_channel.msg_ready():
        assert time.monotonic() < end, "nothing was asked"
        time.sleep(0.05)
    prompt = notebook.client.stdin_channel.get_msg(timeout=1)["content"]["prompt"]
    notebook.client.input(answer)
    return prompt, notebook.follow(message)


def unasked(notebook: Notebook, cell: str) -> Outcome:
    """As nbconvert and papermill run a cell: nobody can be asked."""
    return notebook.follow(str(notebook.client.execute(cell, allow_stdin=False)))


def test_a_notebook_is_asked(priced: None, new_notebook: Callable[[], Notebook], home: Path) -> None:
    notebook = new_notebook()
    line = "%gpu rent --cloud local --name paid --for 1h"
    refused = unasked(notebook, line)
    assert (refused.status, refused.ename) == ("error", "ConfirmationNeeded")
    assert "$1.50 an hour" in refused.error
    assert f"{line} --yes says yes beforehand" in refused.error
    prompt, said = asked(notebook, line, "n")
    assert "[y/N]" in prompt
    assert "nothing was rented" in said.plain + said.error
    assert LocalProvider().instances() == []
    prompt, said = asked(notebook, line, "y")
    assert "paid is ready" in said.plain, said.error

    # another one lives, rented by somebody else: this notebook's own is meant, and none beside it
    assert run(["rent", "--cloud", "local", "--name", "other", "--for", "1h", "--yes"]) == 0
    assert "on paid" in notebook.run("%%gpu\nimport os; print('on', 'paid')").text
    assert notebook.run("%gpu exec -- touch here").status == "ok"
    assert notebook.run("%gpu exec -s paid -- test -e here").status == "ok"
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=60)
    notebook.run("%load_ext gpunb")
    assert notebook.run("%gpu exec -- test -e here").status == "ok", "a new kernel of the same notebook"
    second = new_notebook()
    several = second.run("%gpu exec -- true")
    assert several.ename == "SessionAmbiguous", "another notebook has rented none"
    assert "NAME being" in several.error

    refused = unasked(notebook, "%gpu down")
    assert refused.ename == "ConfirmationNeeded"
    assert "paid on local" in refused.error, "what is meant is named"
    prompt, said = asked(notebook, "%gpu down", "")
    assert "paid on local" in prompt
    assert "files that are only there" in prompt
    assert "nothing was ended" in said.plain
    assert len(LocalProvider().instances()) == 2
    prompt, said = asked(notebook, "%gpu down", "yes")
    assert "receipt: paid" in said.plain
    assert run(["down", "other", "--yes"]) == 0
