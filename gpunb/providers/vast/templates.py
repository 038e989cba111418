"""Body of Vast's template call: SSH, direct, as the client vastai 1.9.1 sends it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.providers.edge.text import clean
from gpunb.providers.vast.create import DEFAULT_IMAGE, script, variables

if TYPE_CHECKING:
    from gpunb.providers.models import CreateSpec

__all__ = ["body"]


def body(name: str, spec: CreateSpec) -> dict[str, Any]:
    """Build the whole body: an update sends the whole template, too.

    Raises
    ------
    BadInput
        The name, or something that no create call takes either.
    """
    if not 0 < len(name) <= 100 or not name.isprintable():
        msg = f"template {clean(name, 80)!r}: must be a name of 1 to 100 characters"
        raise BadInput(msg, bill="nothing was rented or kept")
    image, _, tag = (spec.image or DEFAULT_IMAGE).rpartition(":")
    if not image or "/" in tag or image.endswith("@sha256"):
        image, tag = spec.image or "", ""
    return {
        "name": name,
        "image": image,
        "tag": tag or None,
        "env": " ".join(_option(key, value) for key, value in variables(spec).items()),
        "onstart": script(spec) or None,
        "recommended_disk_space": spec.disk_gb or None,
        "runtype": "ssh",
        "use_ssh": True,
        "ssh_direct": True,
        "jup_direct": False,
        "use_jupyter_lab": False,
        "extra_filters": {},
        "readme_visible": True,
        "private": True,
    }


def _option(key: str, value: str) -> str:
    """Return a variable, port or hostname as docker's own option."""
    if key == "-h":
        return f"-h {value}"
    return key if key.startswith("-p ") else f"-e {key}={shlex.quote(value)}"
