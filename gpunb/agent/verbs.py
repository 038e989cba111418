"""What ``python AGENT_FOLDER VERB`` does; the folder holds a copy of this package."""

from __future__ import annotations

import sys


def main(argv: list[str]) -> int:
    """Run `argv`: serve, attach, bulk, keep, notebook or kernel."""
    verb = argv[0] if argv else ""
    if verb == "serve":
        from . import daemon

        return daemon.main(argv[1:])
    if verb == "keep":
        from . import keeper

        return keeper.main(argv[1:])
    if verb == "notebook":
        from . import notebook

        return notebook.main(argv[1:])
    if verb == "kernel":
        from . import kernelapp

        kernelapp.main(argv[1:])
        return 0
    if verb in ("attach", "bulk"):
        from . import relay

        return relay.main(argv)
    sys.stderr.write(
        "usage: serve VERSION | attach VERSION NONCE | bulk TOKEN NONCE | keep FOLDER"
        " | notebook INPUT OUTPUT | kernel FILE\n"
    )
    return 2
