"""Pydantic models of clouds' answers: odd values give a warning, not a crash.

Unknown fields are kept. A field that has a default takes it when the cloud
sends something else than documented, and the log says which field and value.
A field without a default is required: a row without it can't be used.
"""

from __future__ import annotations

import logging
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticUndefined, PydanticUseDefault

from gpunb.errors import BadAnswer
from gpunb.providers.edge.text import clean

__all__ = ["Wire", "parse", "rows"]

_log = logging.getLogger("gpunb.providers.edge.payload")
_M = TypeVar("_M", bound="Wire")


class Wire(BaseModel):
    """Base of the models of clouds' answers."""

    model_config = ConfigDict(
        extra="allow", coerce_numbers_to_str=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="wrap")
    @classmethod
    def _odd_value(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        try:
            return handler(value)
        except ValidationError:
            found = cls.model_fields[str(info.field_name)]
            if found.default is PydanticUndefined and found.default_factory is None:
                raise
            if value is not None:  # null for "unknown" is common
                _log.warning(
                    "%s.%s: %s is not expected", cls.__name__, info.field_name, clean(repr(value), 120)
                )
            raise PydanticUseDefault from None


def parse(model: type[_M], row: Any, *, provider: str, what: str) -> _M:
    """Parse `row` as `model`.

    Raises
    ------
    BadAnswer
        A needed field is missing or unusable; names provider, field and raw value.
    """
    try:
        return model.model_validate(row)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raw = clean(repr(first.get("input")), 120)
        msg = f"{provider}: {what}: field {where} is {raw}: {first['msg']}"
        raise BadAnswer(msg, provider=provider) from err


def rows(data: Any, field: str, *, provider: str, what: str) -> list[Any]:
    """Return the list under `field` of an answer. A missing list is not an empty one.

    Raises
    ------
    BadAnswer
        There is no such field, or it is no list.
    """
    result = data.get(field) if isinstance(data, dict) else None
    if not isinstance(result, list):
        shown = clean(repr(data), 160)
        msg = f"{provider}: {what}: field {field} must be a list; the answer was {shown}"
        raise BadAnswer(msg, provider=provider)
    return result
