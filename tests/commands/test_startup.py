"""What the quick commands import: a count holds on any machine, where a time does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import startup
from gpunb.cli.main import RICH_ASKS
from gpunb.cli.registry import VERBS

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    "IPython",
    "asyncssh",
    "cryptography",
    "fsspec",
    "httpx",
    "paramiko",
    "pydantic",
    "pydantic_settings",
}
#: Modules beyond click and rich, and beyond IPython.
PS_MODULES = 90
LOAD_MODULES = 18
SSH_MODULES = 330
#: Looked through for what is installed: as slow as there are packages.
SCAN = {"importlib.metadata", "pkg_resources"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with three live sessions; this process leads, so that nobody starts a supervisor."""
    startup.fill(tmp_path / "home" / "ledger.sqlite")
    return tmp_path / "home"


def modules_of(code: str, home: Path, before: str = "") -> set[str]:
    """What `code` imports on top of `before`, in a fresh interpreter."""
    script = (
        f"import json, sys\n{before}\nbefore = set(sys.modules)\n{code}\n"
        "sys.stdout.flush()\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )
    plain = {name: text for name, text in os.environ.items() if name not in RICH_ASKS}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**plain, "GPUNB_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_ps_imports_few_modules_and_nothing_heavy(home: Path) -> None:
    loaded = modules_of("from gpunb.cli.main import run; assert run(['ps']) == 0", home, "import click, rich")
    assert not loaded & (HEAVY | SCAN)
    assert not [name for name in loaded if name.startswith(("gpunb.offers", "click.shell_completion"))]
    verbs = {name.rpartition(".")[2] for name in loaded if name.startswith("gpunb.commands.")}
    assert verbs & set(VERBS) == {"ps"}
    assert not loaded & {"rich.console", "rich.table", "gpunb.providers", "pickle", "tempfile"}
    assert len(loaded) <= PS_MODULES, sorted(loaded)


def test_the_extension_loads_few_modules(home: Path) -> None:
    before = "from IPython.core.interactiveshell import InteractiveShell\nshell = InteractiveShell.instance()"
    loaded = modules_of("shell.run_line_magic('load_ext', 'gpunb')", home, before)
    assert "gpunb.notebook.magics" in loaded
    assert not loaded & {"gpunb.cli", "gpunb.commands"}
    assert not loaded & (
        HEAVY | {"click", "rich", "dataclasses", "logging", "hashlib", "difflib", "platform"}
    )
    assert len(loaded) <= LOAD_MODULES, sorted(loaded)


def test_a_host_is_reached_without_what_no_command_needs(home: Path) -> None:
    code = (
        "import gpunb.ssh, gpunb.sessions.access.host_access, gpunb.ssh.transport\n"
        "from gpunb.sessions.access import renter\nrenter.marks(notebook=False)\n"
        "from gpunb.services import lease_warnings\nfrom gpunb.sessions.ledger.sessions import Ledger\n"
        "with Ledger.open() as ledger: lease_warnings.lines(ledger)"
    )
    loaded = modules_of(code, home, "import gpunb.cli.main")
    assert "paramiko" in loaded
    assert not loaded & {"pydantic", "psutil", "asyncio", "unittest", "yaml", "invoke.tasks", "httpx"}
    assert len(loaded) <= SSH_MODULES, sorted(loaded)


def test_invoke_is_there_for_who_uses_it(home: Path) -> None:
    pytest.importorskip("invoke")
    code = "import gpunb.ssh.transport, paramiko.config; paramiko.config.invoke.run('true', hide=True)"
    assert "invoke.tasks" in modules_of(code, home)
