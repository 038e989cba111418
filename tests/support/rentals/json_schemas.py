"""Holds what ``--json`` prints against docs/json-schemas.json; unknown fields are failures here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

from gpunb.cli.registry import spelled, split
from tests.support.rentals.openapi import close

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = Path(__file__).parents[3] / "docs" / "json-schemas.json"


@cache
def document() -> dict[str, Any]:
    """The schemas, closed."""
    schemas: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    close(schemas)
    return schemas


def fits(args: Sequence[str], value: Any) -> None:
    """Assert that `value` is what the verb that `args` call prints, or that it failed."""
    verb, _ = split(spelled(args))
    if not verb:
        return  # another package's
    failed = isinstance(value, dict) and "error" in value and verb != "hosts"
    schema = document()["failure"] if failed else document()["verbs"][verb]
    jsonschema.Draft202012Validator({**schema, "$defs": document()["$defs"]}).validate(value)
