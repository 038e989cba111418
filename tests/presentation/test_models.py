"""The models, the OpenAPI document and the extension's TypeScript say the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpunb.presentation import api, models, offer_columns, receipt_columns, shapes

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "labextension"


def said(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": path}
    )


def test_document_and_columns_are_what_presentation_says() -> None:
    done = said(sys.executable, ".ci/generate.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_field_that_only_a_model_has_is_found(tmp_path: Path) -> None:
    columns = "gpunb/notebook/widgets/static/picker/columns.js"
    receipts = "labextension/src/columns.ts"
    for name in (".ci/generate.py", "gpunb/server/openapi.yaml", columns, receipts):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    file = tmp_path / "gpunb/server/openapi.yaml"
    file.write_text(file.read_text("utf-8").replace("        reliability: ", "        reliable: "), "utf-8")
    done = said(sys.executable, str(tmp_path / ".ci/generate.py"), "--check")
    assert done.returncode == 1
    assert "-        reliable: {type: [number, 'null']}" in done.stdout
    assert "make types" in done.stdout


@pytest.mark.skipif(not (EXTENSION / "node_modules").is_dir(), reason="the extension's tools are not here")
def test_the_typescript_is_what_the_document_says() -> None:
    done = said("node", "types.mjs", "--check", cwd=EXTENSION)
    assert done.returncode == 0, done.stdout + done.stderr


def test_facets_are_fields_of_offers() -> None:
    assert set(shapes.FACETS) == set(api.Facets.__annotations__)
    assert set(shapes.FACETS) <= set(models.Offer.__annotations__)


def test_columns_of_the_picker_are_fields_of_offers() -> None:
    """A column without its field would be there, and empty."""
    shown = {column.key for column in offer_columns.OFFER_COLUMNS if column.px}
    assert shown <= set(models.Offer.__annotations__)


def test_columns_of_receipts_are_fields_of_receipts_and_have_their_form_in_the_lab() -> None:
    columns = receipt_columns.RECEIPT_COLUMNS
    assert {column.key for column in columns} <= set(models.Receipt.__annotations__)
    assert {column.form for column in columns} == set(receipt_columns.FORMS)
    script = (EXTENSION / "src/receipts.ts").read_text("utf-8")
    forms = set(re.findall(r"^  (\w+): \(", script.partition("const FORMS")[2], re.MULTILINE))
    assert forms == {column.form for column in columns if column.lab}
