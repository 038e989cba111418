"""Write gpunb/output/sanitize/widgets.json: what the installed ipywidgets says its widgets are made of.

    .venv/bin/python .ci/widget_spec.py

As ipywidgets' own `packages/schema/generate-spec.py`, from the synchronised
traits of each registered class. A test holds the file against what is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "gpunb/output/sanitize/widgets.json"
_NAMED = {
    "Bool": "bool", "Int": "int", "CInt": "int", "Float": "float", "CFloat": "float", "Unicode": "text",
    "CUnicode": "text", "Color": "color", "CByteMemoryView": "bytes", "ByteMemoryView": "bytes",
    "Bytes": "bytes", "Date": "date", "Time": "time", "Datetime": "datetime", "NumberFormat": "format",
}  # fmt: skip
_IDENTITY = ("module", "module_version", "name")


def kind_of(trait: Any) -> Any:  # noqa: PLR0911 - one for each type
    """A trait's type as JSON: a word, {"enum": [...]}, {"list": T}, {"tuple": [T, ...]}, {"any": [...]}."""
    name = type(trait).__name__
    if name in _NAMED:
        return _NAMED[name]
    if name in ("Enum", "CaselessStrEnum"):
        return {"enum": list(trait.values)}
    if name == "Union":
        return {"any": [kind_of(one) for one in trait.trait_types]}
    if name == "WidgetTraitTuple":
        return "link"
    if name in ("Instance", "InstanceDict"):
        return _reference(trait.klass)
    if name in ("List", "TypedTuple"):
        inner = getattr(trait, "_trait", None)
        return {"list": kind_of(inner) if inner is not None else "plain"}
    if name == "Tuple":
        inner = list(getattr(trait, "_traits", None) or [])
        return {"tuple": [kind_of(one) for one in inner] or ["int", "int"]}
    if name == "Dict":
        return "dict"
    msg = f"a trait of unknown type {name}"
    raise TypeError(msg)


def _reference(klass: type) -> str:
    from ipywidgets import Layout
    from ipywidgets.widgets.widget_style import Style

    if issubclass(klass, Layout):
        return "layout"
    return "style" if issubclass(klass, Style) else "widget"


def spec() -> dict[str, Any]:
    """Module and name of a model -> module and name of its view, and its traits."""
    import ipywidgets  # noqa: F401 - registers all
    from ipywidgets.widgets import widget

    found: dict[str, Any] = {}
    for (module, _, model, view_module, _, view), klass in widget._registry.items():  # noqa: SLF001
        if not klass.__module__.startswith("ipywidgets."):
            continue
        traits = {}
        for name, trait in sorted(klass.class_traits(sync=True).items()):
            if name.startswith("_") and name.endswith(_IDENTITY):
                continue
            kind = kind_of(trait)
            traits[name] = {"null": kind} if trait.allow_none else kind
        found[f"{module} {model}"] = {"view": [view_module, view], "traits": traits}
    return dict(sorted(found.items()))


def text() -> str:
    """The file's content."""
    return json.dumps(spec(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
