"""``python -m gpunb``: the same as ``gpunb``."""

from __future__ import annotations

from gpunb.cli.main import main

if __name__ == "__main__":
    main()
