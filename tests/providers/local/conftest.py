"""The local provider, with a home of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpunb.providers.local import LocalProvider

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def provider(home: Path) -> LocalProvider:
    return LocalProvider()
