"""What only some clouds have is asked for in one way, refused in one way, and nowhere guessed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gpunb
from gpunb.errors import NotSupported
from gpunb.providers import Capability, names, provider_class
from gpunb.providers import features as declared
from gpunb.providers.base import Provider
from gpunb.providers.features import clouds_with, feature, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(gpunb.__file__).parent
CLOUDS = {name for name in names() if name not in {"local", "ssh"}}  # the second is a program and a verb, too
CLOUD_MODULES = tuple(f"gpunb.providers.{name}" for name in names())
FEATURES = [
    one for name in declared.__all__ if getattr(one := getattr(declared, name), "_is_runtime_protocol", False)
]


def fields_of(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}


PROMISED = {name for wanted in FEATURES for name in fields_of(wanted)}


@pytest.mark.parametrize("wanted", FEATURES, ids=lambda one: one.__name__)
def test_each_feature_says_what_it_promises_and_which_cloud_has_it(wanted: type) -> None:
    assert wanted.__doc__
    promised = fields_of(wanted)
    assert promised
    for name in promised:
        assert getattr(wanted, name).__doc__, f"{wanted.__name__}.{name} says nothing"
    having = clouds_with(wanted)
    assert having, "no cloud has it"
    for name in names():
        cls = provider_class(name)
        if cls in having:
            assert wanted in cls.__mro__, f"{name} has it and does not name it: mypy compares nothing"
            for method in promised:
                assert getattr(cls, method) is not getattr(wanted, method), f"{name} lacks {method}"
        else:
            with pytest.raises(NotSupported) as caught:
                feature(cls, wanted)
            text = str(caught.value)
            assert text.startswith(f"{cls.title} can't ")
            assert wanted.__name__ not in text, "words for people"
            assert text.endswith(" can")
            assert all(one.title in text for one in having)
            assert caught.value.provider == name
            assert caught.value.effect == "none"


def test_a_capability_is_refused_in_the_same_words() -> None:
    local, fluence = provider_class("local")(), provider_class("fluence")
    assert str(refusal(fluence, Capability.STOP)).startswith(
        "Fluence can't stop an instance and keep it; local and Vast.ai can"
    )
    local.need(Capability.STOP)
    with pytest.raises(NotSupported, match=r"local can't keep volumes; Sesterce and Vast\.ai can"):
        local.need(Capability.VOLUMES)
    with pytest.raises(NotSupported, match=r"^local can't be rented by a bid"):
        local.refuse("be rented by a bid")


def test_the_key_s_variable_is_named_on_the_class() -> None:
    for name in CLOUDS:
        assert provider_class(name).key_variable
    assert Provider.key_variable == ""


# -- no cloud is guessed from its name or its methods


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """All that may be said of any cloud: not the clouds themselves, nor their simulations."""
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts
        own = part[0] == "providers" and (part[1].removesuffix(".py") in names())
        if not own and part[0] not in {"sim", "agent"}:
            yield path, ast.parse(path.read_text("utf-8"))


def literals(node: ast.expr) -> set[object]:
    parts = node.elts if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]
    return {one.value for one in parts if isinstance(one, ast.Constant)}


def is_provider(node: ast.expr) -> bool:
    """A name that stands for a cloud all over gpunb: ``provider``, ``self.provider``, ``clouds[0]``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    word = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return word.lstrip("_") in {"provider", "providers", "cloud", "clouds", "made"}


def faults(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            if any(literals(side) & CLOUDS for side in (node.left, *node.comparators)):
                yield node.lineno
        elif isinstance(node, ast.Match):
            patterns = (one for case in node.cases for one in ast.walk(case.pattern))
            if any(isinstance(one, ast.MatchValue) and literals(one.value) & CLOUDS for one in patterns):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
            felt = literals(node.args[1]) & PROMISED or is_provider(node.args[0])
            if node.func.id in {"hasattr", "getattr"} and felt:
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(CLOUD_MODULES):
            yield node.lineno


def test_no_code_outside_a_cloud_compares_its_name_or_feels_for_its_methods() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path, tree in modules() for line in faults(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "if session.provider == 'vast': pass",
        "if 'vast' in {via}: pass",
        "x = 1 if name in ('local', 'fluence') else 2",
        "match name:\n case 'vast' | 'x': pass",
        "hasattr(self.provider, 'bid')",
        "getattr(clouds[0], 'bid', None)",
        "hasattr(one, 'ssh_keys')",
        "from gpunb.providers.vast.volumes import VastVolumes",
    ],
)
def test_and_that_would_be_seen(code: str) -> None:
    assert list(faults(ast.parse(code)))
