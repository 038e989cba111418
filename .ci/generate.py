"""Writes what is made of gpunb/presentation: schemas of REST and --json, pages' columns; --check compares."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter
from typing_extensions import is_typeddict

from gpunb.presentation import answers, api, models, offer_columns, receipt_columns
from gpunb.server import schemas

PACKAGE = Path(__file__).parents[1] / "gpunb"
FILE = PACKAGE / "server" / "openapi.yaml"
COLUMNS = PACKAGE / "notebook" / "widgets" / "static" / "picker" / "columns.js"
RECEIPTS = PACKAGE.parent / "labextension" / "src" / "columns.ts"
JSON = PACKAGE.parent / "docs" / "json-schemas.json"
# what is above this line is written by hand
MARK = "  # made from gpunb.presentation and gpunb.server.schemas by `make types`\n"
REF = "#/components/schemas/"


def made() -> dict[str, Any]:
    """The schemas of all answers, bodies and events, by name."""
    shown = [
        getattr(module, name)
        for module in (models, api)
        for name in module.__all__
        if is_typeddict(getattr(module, name))
    ]
    asked = [
        found
        for found in (getattr(schemas, name) for name in schemas.__all__)
        if isinstance(found, type) and issubclass(found, schemas.Body) and found is not schemas.Body
    ]
    out = {**_schemas(shown, "serialization"), **_schemas(asked, "validation", "Body")}
    out["ConfirmBody"] = _confirm(out)
    for name, schema in out.items():
        if name.endswith("Body") and "token" in schema["properties"]:
            # the models let it be left out, for its absence has an answer of its own
            schema["required"] = [*schema.get("required", ()), "token"]
    out["Event"] = {"oneOf": [_event(kind, model.__name__) for kind, model in api.EVENTS.items()]}
    return dict(sorted(out.items()))


def _confirm(known: dict[str, Any]) -> dict[str, Any]:
    """The fields of all actions: which of them belong to which, each action's own body says."""
    head = _schemas([schemas.Confirm], "validation")["Confirm"]
    rest = {
        name: field
        for action in ("Rent", "Extend", "Stop", "Start", "Down")
        for name, field in known[f"{action}Body"]["properties"].items()
        if name != "token"
    }
    return {**head, "properties": {**head["properties"], **rest}, "additionalProperties": False}


def _schemas(kinds: list[Any], mode: Any, suffix: str = "") -> dict[str, Any]:
    inputs = [(one.__name__, mode, TypeAdapter(one)) for one in kinds]
    found, shared = TypeAdapter.json_schemas(inputs, ref_template=REF + "{model}")
    every = {
        **{name: schema for (name, _), schema in found.items() if "$ref" not in schema},
        **shared.get("$defs", {}),
    }
    return {name + suffix: _plain(schema) for name, schema in every.items()}


def _event(kind: str, name: str) -> dict[str, Any]:
    data = {"n": {"type": "integer"}, "type": {"const": kind}, "data": {"$ref": REF + name}}
    return {"type": "object", "required": ["n", "type", "data"], "properties": data}


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic makes of names, and a nullable type in one line."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        key: {name: _plain(one) for name, one in value.items()} if key == "properties" else _plain(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and (key, value) != ("default", None)
    }
    kinds = out.get("anyOf", ())
    if len(kinds) == 2 and kinds[1] == {"type": "null"} and isinstance(kinds[0].get("type"), str):
        del out["anyOf"]
        out = {**kinds[0], "type": [kinds[0]["type"], "null"], **out}
        if "enum" in out:
            out["enum"] = [*out["enum"], None]
    return out


def openapi(text: str) -> str:
    """The document `text` with the schemas as the models are."""
    head, _, _ = text.partition(MARK)
    body = yaml.dump({"schemas": made()}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)
    return head + MARK + "".join(f"  {line}\n" for line in body.splitlines())


def verbs() -> str:
    """The schemas of what each verb prints with --json."""
    kinds = {**answers.ANSWERS, "failure": answers.Failure}
    inputs = [(name, "serialization", TypeAdapter(kind)) for name, kind in kinds.items()]
    found, shared = TypeAdapter.json_schemas(inputs, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    by_verb = {name: _plain(schema) for (name, _), schema in found.items()}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "What each verb of gpunb prints with --json; one that fails prints the failure. "
        "Made by `make types` from gpunb/presentation/answers/: change that.",
        "failure": by_verb.pop("failure"),
        "verbs": by_verb,
        "$defs": _plain(shared["$defs"]),
    }
    return _by_line(document) + "\n"


def _by_line(value: Any, indent: str = "") -> str:
    """JSON with one line for what fits on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) < 100 or not isinstance(value, dict):
        return line
    more = indent + " "
    rows = (f"{more}{json.dumps(key)}: {_by_line(part, more)}" for key, part in value.items())
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


def columns() -> str:
    """The picker's columns as its script reads them."""
    every = [{**asdict(one), "right": one.right} for one in offer_columns.OFFER_COLUMNS if one.px]
    for one in every:
        del one["terminal"]
    kept = [{name: value for name, value in one.items() if value} for one in every]
    lines = "".join(f"  {json.dumps(one, ensure_ascii=False)},\n" for one in kept)
    return (
        "// Made by `make types` from gpunb/presentation/offer_columns.py: change that.\n\n"
        f"export const COLUMNS = [\n{lines}];\n"
    )


def receipts() -> str:
    """The columns of JupyterLab's receipts, and the words for what ended a session."""
    lines = "".join(
        f"  {{ key: {json.dumps(one.key)}, label: {json.dumps(one.label)}, form: {json.dumps(one.form)}, "
        f"right: {json.dumps(one.right)} }},\n"
        for one in receipt_columns.RECEIPT_COLUMNS
        if one.lab
    )
    words = "".join(f"  {why}: {json.dumps(text)},\n" for why, text in receipt_columns.ENDED_BY.items())
    text = (
        "/** Made by `make types` from gpunb/presentation/receipt_columns.py: change that. */\n\n"
        f"export const RECEIPT_COLUMNS = [\n{lines}] as const;\n\n"
        f"export const ENDED_BY: Record<string, string> = {{\n{words}}};\n"
    )
    return text.replace('"', "'").replace(",\n]", "\n]").replace(",\n}", "\n}")


class _Dumper(yaml.SafeDumper):
    """One line for what fits on one."""

    def ignore_aliases(self, *_: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, **_: Any) -> Any:
        return super().represent_mapping(tag, mapping, flow_style=len(str(mapping)) < 90)

    def represent_sequence(self, tag: str, sequence: Any, **_: Any) -> Any:
        return super().represent_sequence(tag, sequence, flow_style="{" not in str(sequence))


def main() -> int:
    """0 if the files are as they should be, or were written."""
    check = "--check" in sys.argv[1:]
    differ = False
    made_of = {
        FILE: openapi(FILE.read_text("utf-8")),
        COLUMNS: columns(),
        RECEIPTS: receipts(),
        JSON: verbs(),
    }
    for file, then in made_of.items():
        now = file.read_text("utf-8") if file.exists() else ""
        if check:
            old, new = now.splitlines(keepends=True), then.splitlines(keepends=True)
            sys.stdout.writelines(difflib.unified_diff(old, new, file.name, "gpunb/presentation"))
        elif now != then:
            file.write_text(then, "utf-8")
        differ = differ or now != then
    if check and differ:
        print("make types brings " + ", ".join(file.name for file in made_of) + " and types.ts up to date")
    return int(check and differ)


if __name__ == "__main__":
    sys.exit(main())
