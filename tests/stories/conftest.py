"""Stories: what a user types, with the number of commands. The parts are those of the notebook's tests."""

from __future__ import annotations

import pytest

from tests.notebook.conftest import new_notebook, notebook, work

__all__ = ["new_notebook", "notebook", "work"]


@pytest.fixture(autouse=True)
def _rented_from(rented_from: None) -> None:
    """Stories are told on what TEST_HOSTS names."""
