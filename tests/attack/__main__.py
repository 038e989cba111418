"""``make attack``: all hostile cases, and a table of what became of each."""

from __future__ import annotations

import sys

from tests.attack.runner import run_groups, table

if __name__ == "__main__":
    groups = sys.argv[1:]
    found = run_groups([group for group in groups if ":" not in group] or None)
    print(table(found))
    sys.exit(1 if any(one["wrong"] for one in found) else 0)
