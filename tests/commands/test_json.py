"""``--json`` of the verbs that list has each field of its model, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from pydantic import TypeAdapter
from support.rentals.openapi import close

from gpunb.presentation import models, rows

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


def fits(kind: Any, value: Any) -> None:
    schema = TypeAdapter(kind).json_schema()
    close(schema)
    jsonschema.Draft202012Validator(schema).validate(value)


def test_json_is_what_the_models_say(demo: Gpunb) -> None:
    Path("count.py").write_text("print(1)\n", "utf-8")
    assert demo("run", "count.py").code == 0
    fits(list[rows.SessionRow], demo("ps", "--json").json)
    fits(list[models.SessionFacts], demo("panel", "--once", "--json").json)
    fits(rows.SessionShown, demo("show", "--json").json)
    fits(list[rows.RunRow], demo("runs", "--json").json)
    fits(list[rows.JobRow], demo("runs", "--jobs", "--json").json)
    fits(rows.OffersFound, demo("offers", "--json").json)
    costs = {"session": rows.CostOfSession, "day": rows.CostOfDay, "cloud": rows.CostOfCloud}
    for by, kind in {**costs, "run": rows.CostOfRun}.items():
        found = demo("cost", "--by", by, "--json").json
        fits(list[kind], found["rows"])  # type: ignore[valid-type]
        fits(models.Cost, found["total"])
        assert found["rows"] or by == "day", by  # this machine costs nothing
    (receipt,) = demo("down", "--yes", "--json").json
    fits(models.Receipt, receipt)
    assert receipt["runs"]
    assert demo("receipts", "--json").json == [receipt]
