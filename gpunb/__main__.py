"""``gpunb`` and ``python -m gpunb``."""

from __future__ import annotations

import gc
import sys

#: Objects made before the collector looks; with Python's 700 it looks forty times while modules are imported.
YOUNG = 50_000


def main() -> None:
    """Run the command line in a process of its own."""
    gc.set_threshold(YOUNG, 20, 20)
    from gpunb.cli import main as command_line

    command_line.main(sys.argv[1:])


if __name__ == "__main__":
    main()
