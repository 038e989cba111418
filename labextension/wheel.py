"""Puts the built JupyterLab extension into the wheel; an editable install needs neither it nor Node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = Path("build") / "labextension" / "gpunb"
SHARED = "share/jupyter/labextensions/gpunb"


class LabExtension(BuildHookInterface):  # type: ignore[type-arg]
    """``[tool.hatch.build.hooks.custom]``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what `make labextension` made."""
        if version == "editable" or self.target_name != "wheel":
            return
        root = Path(self.root)
        if not (root / BUILT / "package.json").is_file():
            self.app.display_warning("without the JupyterLab extension: it is not built, see make wheel")
            return
        # install.json, which says who installed it, was put there by the build
        build_data["shared_data"][str(root / BUILT)] = SHARED
