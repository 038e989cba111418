"""Each module's ``__all__`` is true and sorted."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest

import gpunb

if TYPE_CHECKING:
    from types import ModuleType

# scripts for the host's interpreter: importing them starts something
NOT_IMPORTED = {"gpunb.agent.__main__", "gpunb.agent.kernel.app", "gpunb.agent.install"}
MODULES = sorted(
    found.name for found in pkgutil.walk_packages(gpunb.__path__, "gpunb.") if found.name not in NOT_IMPORTED
)


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as err:
        if (err.name or "").split(".")[0] in {"gpunb", ""}:
            raise
        pytest.skip(f"needs {err.name}")


@pytest.mark.parametrize("name", ["gpunb", *MODULES])
def test_all_is_true_and_sorted(name: str) -> None:
    module = load(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        return
    # as ruff sorts them: CONSTANTS, then Classes, then functions
    assert len(set(exported)) == len(exported)
    missing = [one for one in exported if not hasattr(module, one)]
    assert not missing
    assert exported == sorted(exported, key=order)


def order(name: str) -> tuple[int, str]:
    if name.isupper() and len(name) > 1:
        return (0, name)
    return (1 if name[:1].isupper() else 2, name)


@pytest.mark.parametrize("name", [one for one in MODULES if one.count(".") == 1])
def test_packages_say_what_they_export(name: str) -> None:
    module = load(name)
    if hasattr(module, "__path__") and any(vars(module).get(one) for one in ("__all__",)):
        public = [
            key
            for key, value in vars(module).items()
            if not key.startswith("_")
            and getattr(value, "__module__", "").startswith(f"{name}.")
            and isinstance(value, type)
        ]
        assert set(public) <= set(module.__all__)
