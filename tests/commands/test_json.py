"""``--json`` of every verb has a schema in docs, and what a session's verbs print is as it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from support.rentals.json_schemas import document, fits

from gpunb.cli.registry import VERBS

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb


def test_each_verb_has_a_schema() -> None:
    assert sorted(document()["verbs"]) == sorted(VERBS)


@pytest.mark.parametrize(
    ("args", "value"),
    [
        (["cancel"], [{"run": "a", "session": "fit", "state": "ok", "was_over": True, "new": 1}]),
        (["cancel"], [{"run": "a", "session": "fit", "state": "ok"}]),
        (["cancel"], [{"run": "a", "session": "fit", "state": "ok", "was_over": "yes"}]),
        (["ps"], {"error": {"type": "BadInput", "message": "no"}}),
    ],
)
def test_a_field_more_or_less_is_found(args: list[str], value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        fits(args, value)


@pytest.mark.slow
def test_json_is_what_the_schemas_say(demo: Gpunb) -> None:
    """Each answer is held against its verb's schema where it is read, here and in all tests of verbs."""
    Path("count.py").write_text("print(1)\n", "utf-8")
    ran = demo("run", "count.py", "--json")
    assert ran.code == 0, ran.err
    run = ran.json["run"]
    lines = f"""
        ps; panel --once; show; show --run {run}; runs; runs --jobs; offers; top --once; logs {run}
        attach {run}
        cancel {run}; cell -c print(1); cell -c 1 --detach; exec -- true; sync count.py : --dry-run
        sync count.py :; forward; forward --close; ssh --print; ssh --config; trust; trust own
        extend 1h --yes
        rename demo lab; restart --yes; skill; doctor; config; limits; notify; completion bash; receipts; off
        hosts; stop none
    """
    for line in filter(None, map(str.strip, lines.replace(";", "\n").splitlines())):
        verb, *words = line.split()
        assert demo(verb, "--json", *words).json is not None, line
    for by in ("session", "day", "cloud", "run"):
        spent = demo("cost", "--by", by, "--json").json
        assert spent["rows"] or by == "day", by  # this machine costs nothing
    (receipt,) = demo("down", "--yes", "--json").json
    assert receipt["runs"]
    assert demo("receipts", "--json").json == [receipt]
    assert demo("receipts", "lab", "--json").json == receipt
