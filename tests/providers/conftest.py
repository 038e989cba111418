"""A simulated Vast in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rentals.vast_cloud import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def w() -> Iterator[World]:
    made = world()
    yield made
    made.provider.close()
    made.cloud.close()
