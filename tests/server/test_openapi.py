"""The file, the handlers and the models say the same."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from tornado.web import RequestHandler

from gpunb.server import PREFIX, schemas
from gpunb.server.handlers.base import Missing
from gpunb.server.routes import routes
from tests.support.rentals.openapi import METHODS, document, resolved

MODELS = {
    "/offers post": schemas.Offers,
    "/rent post": schemas.Rent,
    "/sessions/{id}/extend post": schemas.Extend,
    "/sessions/{id}/stop post": schemas.Stop,
    "/sessions/{id}/start post": schemas.Start,
    "/sessions/{id}/down post": schemas.Down,
    "/sessions/{id}/transfers post": schemas.Transfer,
    "/sessions/{id}/files post": schemas.Empty,
    "/sessions/{id}/files patch": schemas.Rename,
    "/sessions/{id}/ports post": schemas.Port,
    "/sessions/{id}/terminal post": schemas.Empty,
    "/runs/{id}/cancel post": schemas.Empty,
    "/runs/{id}/interrupt post": schemas.Empty,
    "/settings patch": schemas.SettingsPatch,
    "/login post": schemas.Login,
}


def served() -> set[tuple[str, str]]:
    """(path with its parameters' places, method) of every handler."""
    found = set()
    for pattern, handler in routes():
        if handler is Missing:
            continue
        path = re.sub(r"\((?!\?)[^()]*\)", "{}", pattern.removeprefix(PREFIX))
        assert "(" not in path, pattern
        for method in METHODS:
            if getattr(handler, method) is not getattr(RequestHandler, method):
                found.add((path, method))
    return found


def named() -> set[tuple[str, str]]:
    return {
        (re.sub(r"\{\w+\}", "{}", path), method)
        for path, item in document()["paths"].items()
        for method in METHODS
        if method in item
    }


def test_every_handler_is_in_the_file_and_the_other_way_round() -> None:
    assert served() == named()
    assert len(named()) > 30


def test_what_is_no_route_comes_last() -> None:
    assert routes()[-1][1] is Missing
    assert re.fullmatch(routes()[-1][0], f"{PREFIX}/of/a/later/version")


def bodies_in_file() -> dict[str, dict[str, Any]]:
    found = {}
    for path, item in document()["paths"].items():
        for method in METHODS:
            if "requestBody" in item.get(method, {}):
                content = resolved(item[method]["requestBody"])["content"]
                if "application/json" in content:
                    found[f"{path} {method}"] = content["application/json"]["schema"]
    return found


def test_every_body_has_its_model() -> None:
    assert set(bodies_in_file()) == {*MODELS, "/confirm post"}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_body_and_its_model_have_the_same_fields(name: str) -> None:
    schema, model = resolved(bodies_in_file()[name]), MODELS[name]
    assert schema["additionalProperties"] is False
    assert set(schema.get("properties", {})) == set(model.model_fields)
    needed = {field for field, about in model.model_fields.items() if about.is_required()}
    # a missing token is told in its own words
    assert set(schema.get("required", ())) - {"token"} == needed
    assert ("token" in model.model_fields) == ("token" in schema.get("required", ()))


def test_confirm_takes_the_fields_of_all_actions() -> None:
    properties = resolved(bodies_in_file()["/confirm post"])["properties"]
    actions = (schemas.Rent, schemas.Extend, schemas.Stop, schemas.Start, schemas.Down)
    fields = {field for model in actions for field in model.model_fields} - {"token"}
    assert set(properties) == fields | {"action", "session"}


def test_all_schemas_are_schemas() -> None:
    for schema in document()["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_answer_is_error_or_named() -> None:
    for path, item in document()["paths"].items():
        for method in METHODS:
            if method in item:
                assert item[method]["responses"]["default"] == {"$ref": "#/components/responses/Error"}, path
