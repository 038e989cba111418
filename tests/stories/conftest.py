"""Stories: what a user types, with the number of commands. The parts are those of the notebook's tests."""

from __future__ import annotations

from tests.notebook.conftest import new_notebook, notebook, work

__all__ = ["new_notebook", "notebook", "work"]
