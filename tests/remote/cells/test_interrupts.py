"""An interrupt that comes at any point of a cell: the cell ends, the kernel lives, the next one runs."""

from __future__ import annotations

import contextlib

import pytest

from gpunb.errors import RemoteCellError, RunError
from gpunb.output import show
from tests.remote.conftest import Screen, wait_for

pytestmark = pytest.mark.slow

# where ipykernel and IPython are when it comes: before the code, in it, and after it until the reply is out
POINTS = (
    ("kernel", "init_metadata"),
    ("kernel", "_publish_execute_input"),
    ("kernel", "do_execute"),
    ("shell", "transform_cell"),
    ("shell", "run_cell_async"),
    ("shell", "run_ast_nodes"),
    ("shell", "user_expressions"),
    ("kernel", "finish_metadata"),
    ("kernel.session", "send"),
    ("kernel", "post_handler_hook"),
)

# the hook is on from the next cell on, and goes off once
HOOK = """
def _hook(owner, name):
    import os, signal
    inner = getattr(owner, name)
    def interrupted(*args, **more):
        if state["armed"]:
            setattr(owner, name, inner)
            os.kill(os.getpid(), signal.SIGINT)
        return inner(*args, **more)
    state = {"armed": False}
    setattr(owner, name, interrupted)
    def arm(*_):
        state["armed"] = True
        get_ipython().events.unregister("post_run_cell", arm)
    get_ipython().events.register("post_run_cell", arm)
"""


def ends(client, code):
    """Run a cell; return the state that it ended in."""
    run = client.run_cell(code)
    wait_for(lambda: run.over, 60)
    with contextlib.suppress(RemoteCellError, RunError):
        show(run, Screen())
    return client.run_info(run.id).state


def test_an_interrupt_at_any_point_leaves_a_kernel_that_answers(client):
    assert ends(client, f"{HOOK}\nkept = 1") == "ok"
    seen = {}
    for owner, name in POINTS:
        path = "get_ipython()" + (f".{owner}" if owner != "shell" else "")
        for code in ("2", "import asyncio; await asyncio.sleep(0)"):
            assert ends(client, f"kept; _hook({path}, {name!r})") == "ok", (seen, name)
            seen[name, code[0]] = ends(client, code)
    assert ends(client, "kept") == "ok", seen
    assert set(seen.values()) == {"ok", "cancelled"}, seen
    for name in ("init_metadata", "do_execute", "run_cell_async"):
        assert seen[name, "2"] == seen[name, "i"] == "cancelled", "it is kept until the code would run"
    assert seen["finish_metadata", "2"] == seen["send", "2"] == "ok", "the code was through"


def test_an_error_that_has_no_text_ends_its_cell(client):
    code = "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute"
    assert ends(client, code) == "error"
    assert ends(client, "1") == "ok"
