"""Checks an answer against a cloud's published schemas (trimmed copies in tests/providers/data)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

_DATA = Path(__file__).parents[2] / "providers" / "data"


@cache
def _document(cloud: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_DATA / f"{cloud}.schemas.json").read_text("utf-8"))
    return found


def check(cloud: str, what: str, status: int, answer: Any) -> None:
    """`answer` must fit the schema of `what` ("GET /v1/containers") with that status code."""
    document = _document(cloud)
    schema = document["answers"][f"{what} {status}"]
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(answer)
