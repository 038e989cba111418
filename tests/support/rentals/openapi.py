"""Holds answers and events against ``gpunb/server/openapi.yaml``; unknown fields are failures here."""

from __future__ import annotations

import copy
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import yaml

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def document() -> dict[str, Any]:
    text = files("gpunb.server").joinpath("openapi.yaml").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@cache
def _strict() -> dict[str, Any]:
    """The components, closed: what the file does not name is not answered."""
    components: dict[str, Any] = copy.deepcopy(document()["components"])
    close(components)
    return components


def close(schema: Any) -> None:
    if isinstance(schema, list):
        for one in schema:
            close(one)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            close(value)


def validate(schema: dict[str, Any], value: Any) -> None:
    whole = {"allOf": [schema], "components": _strict()}
    if schema.get("type") == "object" or "$ref" in schema:
        whole["unevaluatedProperties"] = False
    jsonschema.Draft202012Validator(whole).validate(value)


def resolved(found: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in found:
        at: Any = document()
        for part in found["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        found = at
    return found


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in document()["paths"]]


def template(path: str) -> str | None:
    """The path of the file that `path` is one of."""
    return next((name for pattern, name in _patterns() if pattern.fullmatch(path)), None)


def check_answer(method: str, path: str, answer: Any) -> None:
    """Status, content type and body are what the file says."""
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/json"), answer.text
        validate({"$ref": "#/components/schemas/Problem"}, answer.json())
        return
    name = template(path)
    assert name is not None, path
    responses = document()["paths"][name][method.lower()]["responses"]
    assert str(answer.status_code) in responses, (method, path, answer.status_code)
    content = resolved(responses[str(answer.status_code)])["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in content, (method, path, kind)
    if kind == "application/json":
        validate(content[kind]["schema"], answer.json())


def check_event(event: dict[str, Any]) -> None:
    """An event is of a kind that the file names."""
    fitting = document()["components"]["schemas"]["Event"]["oneOf"]
    names = [resolved(one)["properties"]["type"]["const"] for one in fitting]
    assert event["type"] in names, event["type"]
    validate(fitting[names.index(event["type"])], event)
