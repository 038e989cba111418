"""The examples of docs/python-api.md, run as they stand, in their order and one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpunb.providers.local import LocalProvider

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_examples_of_the_page_run(work: Path) -> None:
    blocks = list(re.finditer(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    assert len(blocks) >= 4
    space: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        above = PAGE.read_text()[: block.start(1)].count("\n")
        exec(compile("\n" * above + block.group(1), str(PAGE), "exec"), space)
    assert LocalProvider().instances() == []
