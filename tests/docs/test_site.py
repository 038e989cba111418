"""The documentation's site: it builds, each page is found, errors have theirs, the quick start works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.rentals.supervisors import end_supervisors

from gpunb import errors, providers
from gpunb.cli import failures
from gpunb.cli.main import invoke
from gpunb.errors import AuthFailed, BadInput
from gpunb.presentation.result import Code

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_builds_without_a_warning() -> None:
    """Links to pages and headings, verbs of the grammar, docstrings."""
    words = [sys.executable, str(ROOT / ".ci" / "docs.py"), "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr


def test_each_page_is_linked_from_another_than_the_readme() -> None:
    linked = set()
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\(([^)\s#:]+\.md)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if (page.parent / link).resolve() != page:
                linked.add((page.parent / link).resolve())
    assert [page.name for page in DOCS.rglob("*.md") if page not in linked | {DOCS / "index.md"}] == []


def test_each_error_has_its_paragraph() -> None:
    assert set(failures.paragraphs()) == set(errors.__all__)
    assert all(len(text) > 60 for text in failures.paragraphs().values())


@pytest.mark.parametrize("word", ["AuthFailed", "authfailed"])
def test_help_tells_what_a_code_means(word: str) -> None:
    (block,) = invoke(["help", word], frontend="terminal").blocks
    assert isinstance(block, Code)
    assert block.text.startswith("AuthFailed\n\n")
    assert "gpunb login CLOUD" in block.text


def test_a_code_is_named_where_its_paragraph_says_more() -> None:
    assert failures.code_of(AuthFailed("no", provider="vast")) == "AuthFailed"
    assert failures.code_of(BadInput("x: y")) is None


def test_the_pages_where_keys_are_made() -> None:
    page = (DOCS / "keys.md").read_text("utf-8")
    made = {name: providers.provider_class(name) for name in providers.names()}
    pages = {name: cloud.key_page for name, cloud in made.items() if cloud.key_page}
    assert {"vast", "runpod", "lambda", "shadeform"} <= set(pages)
    assert {name: where for name, where in pages.items() if where not in page} == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_quick_start_works_as_typed(home: Path, tmp_path: Path) -> None:
    page = (DOCS / "start.md").read_text("utf-8")
    shell = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    typed = shell[1].replace("gpunb ", f"'{sys.executable}' -m gpunb ")
    done = subprocess.run(
        ["sh", "-e", "-c", typed], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    end_supervisors(home)
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("the host says 42", "it still knows 42", "trained", "first"):
        assert said in done.stdout
