"""How long people wait before anything happens: %load_ext gpunb, and gpunb ps."""

from __future__ import annotations


def run(options):  # type: ignore
    raise NotImplementedError
