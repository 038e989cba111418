"""Old names of modules lead to the new ones, and to no copy of them."""

from __future__ import annotations

import importlib
import sys

import pytest

from gpunb import _moved

ROWS = sorted(_moved._new_names().items())


def test_the_table_names_modules_that_are_there() -> None:
    assert len(ROWS) > 200
    assert not [new for _, new in ROWS if importlib.util.find_spec(new) is None]


@pytest.mark.parametrize("old", ["gpunb.sessions.reach", "gpunb.commands.rent", "gpunb.agent.protocol"])
def test_an_old_name_is_the_new_module(old: str) -> None:
    new = _moved._new_names()[old]
    right = importlib.import_module(new)
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now"):
        found = importlib.import_module(old)
    assert found is right
    assert found.__spec__ is not None
    assert (found.__name__, found.__spec__.name) == (new, new)
    sys.modules.pop(old)


def test_a_name_that_never_was_is_none() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gpunb.sessions.nothing")


def test_what_remote_exported_is_there() -> None:
    from gpunb import output, remote

    assert remote.show is output.show
    with pytest.raises(AttributeError):
        _ = remote.nothing
