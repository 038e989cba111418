"""The agent's entry point: ``python AGENT_FOLDER VERB``; the folder holds a copy of this package."""

from __future__ import annotations

import importlib
import sys

MODULES = {
    "serve": "daemon.server",
    "attach": "stdio_bridge",
    "bulk": "stdio_bridge",
    "files": "files.server",
    "direct": "files.host_to_host",
    "keep": "job.runner",
    "notebook": "job.notebook",
    "kernel": "kernel.app",
}


def main(argv: list[str]) -> int:
    """Run `argv`: serve, attach, bulk, files, direct, keep, notebook or kernel."""
    verb = argv[0] if argv else ""
    if verb in MODULES:
        module = importlib.import_module("." + MODULES[verb], __package__)
        return module.main(argv if verb in ("attach", "bulk") else argv[1:]) or 0
    sys.stderr.write(
        "usage: serve VERSION | attach VERSION NONCE | bulk TOKEN NONCE | files NONCE [FOLDER]"
        " | direct FOLDER | keep FOLDER | notebook INPUT OUTPUT | kernel FILE\n"
    )
    return 2
