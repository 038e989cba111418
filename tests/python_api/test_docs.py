"""The examples of docs/python-api.md, run as they stand: one program, its lines those of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machines import own_hosts

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_examples_of_the_page_run(work: Path) -> None:
    text = PAGE.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) >= 6
    program = ""
    for block in blocks:
        program += "\n" * (text[: block.start(1)].count("\n") - program.count("\n")) + block.group(1)
    (work / "page.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=work, env=os.environ, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert own_hosts.instances() == []
