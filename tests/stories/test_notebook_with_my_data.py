"""Story 2, a notebook with my data: two commands, no decision. Everything else is the user's own cells."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.slow

COMMANDS = ["%gpu rent --name demo --for 30m", "%gpu on --here"]


def test_notebook_with_my_data(notebook, work):
    (work / "data").mkdir()
    (work / "out").mkdir()
    (work / "data" / "x.csv").write_text("a,b\n1,2\n3,4\n")
    (work / "helpers.py").write_text("def total(rows):\n    return sum(rows)\n")
    for command in COMMANDS:
        outcome = notebook.run(command)
        assert outcome.status == "ok", outcome.error
    cell = (
        "import csv, helpers, os\n"
        "rows = [int(row['b']) for row in csv.DictReader(open('data/x.csv'))]\n"
        "with open('out/log.txt', 'w') as log: print(helpers.total(rows), file=log)\n"
        "print(helpers.total(rows), os.getpid())"
    )
    outcome = notebook.run(cell)
    assert outcome.status == "ok", outcome.error
    total, process = outcome.text.split()[:2]
    assert total == "6"
    assert process != str(notebook.run("%%local\nimport os\nprint(os.getpid())").text.strip())
    assert (work / "out" / "log.txt").read_text() == "6\n", "what the cell wrote is here"
    # an edit here is seen by the next cell, and so is a new file
    (work / "helpers.py").write_text("def total(rows):\n    return 100 * sum(rows)\n")
    (work / "data" / "y.txt").write_text("why")
    outcome = notebook.run("import helpers\nprint(helpers.total([1]), open('data/y.txt').read())")
    assert outcome.text.startswith("100 why\n"), outcome.text
    assert len(COMMANDS) == 2
    assert os.path.exists(work / "data" / "x.csv")
