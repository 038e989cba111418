"""Case folding of names by a folder's file system."""

from __future__ import annotations

import os


def folds_case(folder: bytes) -> bool:
    """Whether a folder's file system ignores case in names; nothing is written to find out."""
    # test a name inside: the folder's own name may be in another file system, where it is mounted
    try:
        with os.scandir(folder) as listing:
            names = [entry.name for entry, _ in zip(listing, range(50))]
    except OSError:
        names = []
    for name in names:
        other = name.swapcase()
        if other != name and len(other) == len(name):
            if other in names:
                return False
            try:
                return os.path.samefile(os.path.join(folder, name), os.path.join(folder, other))
            except OSError:
                return False
    while folder not in (b"/", b""):
        above, name = os.path.split(folder)
        other = name.swapcase()
        if other != name:
            try:
                return os.path.samefile(folder, os.path.join(above, other))
            except OSError:
                return False
        folder = above
    return False
