"""Python in a notebook: functions of its cells, and values whose classes are in the bound folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machines.kernel import Notebook

import gpunb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def notebook(session: gpunb.Session, work: Path) -> Iterator[Notebook]:
    """A kernel in the working folder, and a session that it did not rent."""
    (work / "shapes.py").write_text("class Point:\n    def __init__(self, x):\n        self.x = x\n")
    made = Notebook(work)
    yield made
    made.close()


def test_functions_and_values_of_a_notebook(notebook: Notebook) -> None:
    def shows(code: str) -> str:
        ran = notebook.run(code, seconds=120)
        assert ran.status == "ok", ran.error
        return ran.text + ran.plain

    # a value of a class of the folder goes before any cell has been there
    shows("import shapes\nv = shapes.Point(3)")
    shows("%gpu on demo --here")
    shows("%gpu put v")
    assert "3" in shows("v.x")
    shows("%gpu off")
    # a function of one cell with a helper, a class and a value of others, and its own change
    shows("import math, gpunb\nSCALE = 2\ns = gpunb.session('demo')")
    shows(
        "class Box:\n    def __init__(self, side):\n        self.side = side\n\n"
        "def area(box):\n    return box.side ** 2"
    )
    shows("@s.function\ndef scaled(side):\n    return math.floor(area(Box(side)) * SCALE)")
    assert shows("scaled(3)") == "18"
    shows("SCALE = 3")
    assert shows("list(scaled.map([1, 2]))") == "[3, 12]"
    shows("def area(box):\n    return -box.side")
    assert shows("scaled(3)") == "-9", "a helper that was written anew is sent anew"
