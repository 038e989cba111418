"""A real IPython kernel, and one with a live local session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machines.kernel import Notebook
from support.rentals.supervisors import end_supervisors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def new_notebook(home: Path, rented_from: None, work: Path) -> Iterator[Callable[[], Notebook]]:
    """Starts kernels; all are gone afterwards."""
    made: list[Notebook] = []

    def start() -> Notebook:
        made.append(Notebook(work))
        return made[-1]

    yield start
    for notebook in made:
        if notebook.manager.has_kernel and notebook.manager.is_alive():
            notebook.close()
    end_supervisors(home)


@pytest.fixture
def notebook(new_notebook: Callable[[], Notebook]) -> Notebook:
    return new_notebook()


@pytest.fixture
def rented(notebook: Notebook) -> Notebook:
    """A kernel with a live local session called demo."""
    outcome = notebook.run("%gpu rent --name demo --for 30m")
    assert outcome.status == "ok", outcome.error
    return notebook
