"""Trees with every odd name, and a way to compare two of them."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

ODD = [
    b"plain.txt",
    b"with space",
    b"new\nline",
    b"tab\tand\rreturn",
    b"'single' \"double\"",
    b"-leading-dash",
    b"--delete",
    b"#hash",
    b";semi",
    b"$HOME `id` $(id)",
    b"back\\slash",
    b"*star?[x]",
    b"~tilde",
    b":colon",
    "emoji-\U0001f680-é".encode(),
    b"not-utf8-\xff\xfe",
    b"..double-dot",
    b"n" * 250,
]


def odd_tree(root: Path, seed: int = 1) -> None:
    """Files, folders and links with odd names, modes and times."""
    rng = random.Random(seed)
    top = os.fsencode(root)
    os.makedirs(top + b"/empty folder/deeper")
    for folder in (b"", b"/sub", b"/sub/d" + ODD[2], b"/" + ODD[5]):
        os.makedirs(top + folder, exist_ok=True)
        for number, name in enumerate(ODD):
            path = top + folder + b"/f" + name if folder == b"" else top + folder + b"/" + name
            if os.path.lexists(path):
                os.unlink(path)  # it may be read-only
            with open(path, "wb") as file:
                file.write(rng.randbytes(rng.choice([0, 1, 100, 40_000])))
            os.chmod(path, [0o644, 0o600, 0o755, 0o444, 0o640][number % 5])
            stamp = 1_000_000_000 + rng.randrange(10**8)
            os.utime(path, (stamp, stamp))
    with open(top + b"/large", "wb") as file:
        file.write(rng.randbytes(3_000_000))
    os.utime(top + b"/large", (seed * 10**6, seed * 10**6))
    links = {
        b"link": b"sub/plain.txt",
        b"sub/up": b"../large",
        b"link to folder": b"sub",
        b"dangling \xff": b"nowhere",
    }
    for name, goal in links.items():
        with contextlib.suppress(FileExistsError):
            os.symlink(goal, top + b"/" + name)
    os.chmod(top + b"/empty folder", 0o750)


def shape(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything of a tree that a sync keeps."""
    top = os.fsencode(root)
    found: dict[bytes, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            relative = os.path.relpath(path, top)
            if os.path.islink(path):
                found[relative] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                found[relative] = ("dir", oct(facts.st_mode))
            else:
                found[relative] = (
                    "file",
                    oct(facts.st_mode),
                    int(facts.st_mtime),
                    Path(os.fsdecode(path)).read_bytes(),
                )
    return found


def nanos(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def more_oddities(root: Path) -> None:
    """What only some engines are asked about elsewhere."""
    (root / "empty").write_bytes(b"")
    (root / "one").write_bytes(b"twice")
    os.link(root / "one", root / "another")
    with (root / "sparse").open("wb") as file:
        file.truncate(40 * 2**20)
        file.seek(20 * 2**20)
        file.write(b"island")
    (root / "whole").write_bytes(os.urandom(2 * 2**20))
    (root / "segments").write_bytes(os.urandom(20 * 2**20 + 17))
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "none").write_text("x")
    (root / "none").chmod(0)
