"""What one call of the terminal door did."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.rentals.json_schemas import fits


@dataclass
class Ran:
    """What one ``gpunb …`` did."""

    code: int
    out: str
    err: str
    args: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """What ``--json`` printed, which is as docs/json-schemas.json says."""
        value = json.loads(self.out)
        fits(self.args, value)
        return value


Gpunb = Callable[..., Ran]
