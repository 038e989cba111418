"""A project here, and a live local session with a real agent behind SSH."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.supervisors import end_supervisors

from gpunb.cli.main import run
from gpunb.services.project import Limits, Project
from gpunb.services.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Rig:
    """A workspace, its session, and the project's two ends."""

    context: Workspace
    session: Any
    root: Path

    @property
    def project(self) -> Project:
        return Project(self.context, self.session, self.root)

    def limited(self, **limits: Any) -> Project:
        return Project(self.context, self.session, self.root, Limits(**limits))

    def stranger(self) -> None:
        """From here on the host is not trusted."""
        self.session = replace(self.session, trust="stranger")

    @property
    def there(self) -> Path:
        """The project's folder on the host; both are this machine."""
        return Path(self.context.agent(self.session).info.home) / self.project.place

    def shell(self, line: str) -> None:
        """Run a line on the host, in the project's folder."""
        command = f"cd {shlex.quote(str(self.there))} && {{ {line}; }}"
        done = self.context.agent(self.session).connection.run(command, timeout=60)
        assert done.code == 0, done


@pytest.fixture
def rig(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    root = tmp_path / "proj"
    (root / "data").mkdir(parents=True)
    (root / "gpunb.toml").write_text("")
    (root / "data" / "x.csv").write_text("a,b\n1,2\n")
    (root / "helpers.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.chdir(root)
    assert run(["rent", "--name", "demo", "--for", "30m"]) == 0
    with Workspace() as context:
        yield Rig(context, context.session("demo"), root)
    from gpunb.sessions.access import host_access

    host_access.close_all()
    end_supervisors(home)
