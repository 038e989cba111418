"""A stranger's cells in a real notebook kernel: what reaches the page, and what the user can still have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gpunb.sessions.integrations import kernelspecs
from gpunb.sessions.ledger.sessions import Ledger
from tests.notebook.test_whole_notebooks import Front

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.kernel import Notebook

pytestmark = pytest.mark.slow

HOSTILE = """%%gpu
from IPython.display import HTML, Javascript, Markdown, SVG, display, clear_output
display(HTML("<b>table</b><script>alert(1)</script>"))
display(Javascript("alert(2)"))
display(SVG("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(3)'></svg>"))
display(Markdown("# title <img src=x onerror=alert(4)>"))
shown = display(HTML("<i>first</i>"), display_id="mine")
shown.update(HTML("<i>second</i><img src=x onerror=alert(5)>"))
print("\\x1b]0;title\\x07\\x1b[31mred\\x1b[0m")
get_ipython().set_next_input("import os; os.system('x')")
HTML("<iframe srcdoc='<script>alert(6)</script>'></iframe>end")
"""


def bundles(notebook: Notebook, code: str) -> str:
    outcome = notebook.run(code)
    assert outcome.status == "ok", outcome.error
    return json.dumps(outcome.bundles)


def test_a_strangers_output_is_harmless_and_the_user_may_have_it_whole(rented: Notebook, work: Path) -> None:
    assert rented.run("%gpu trust stranger").status == "ok"
    message = rented.client.execute(HOSTILE)
    seen = []
    while True:
        item = rented.client.get_iopub_msg(timeout=60)
        if item["parent_header"].get("msg_id") == message:
            seen.append(item)
            if item["content"].get("execution_state") == "idle":
                break
    reply = rented.client.get_shell_msg(timeout=60)
    assert reply["content"]["status"] == "ok"
    assert reply["content"].get("payload") == []
    sent = [
        one["content"]
        for one in seen
        if one["msg_type"] in ("display_data", "update_display_data", "execute_result")
    ]
    hosts, words = json.dumps(sent[:-1]), json.dumps(sent[-1])
    for evil in ("alert(1)", "alert(2)", "alert(5)", "alert(6)", "<img src=x", "application/javascript"):
        assert evil not in hosts, evil
    for kept in ("<b>table</b>", "<h1>title", "<i>second</i>", "data:image/svg+xml;base64,", "end"):
        assert kept in hosts, kept
    streams = "".join(one["content"]["text"] for one in seen if one["msg_type"] == "stream")
    assert "\x1b[31mred" in streams
    assert "\x1b]0" not in streams
    (updated,) = [one for one in seen if one["msg_type"] == "update_display_data"]
    assert updated["content"]["transient"]["display_id"].endswith(":mine")
    assert "%gpu logs" in words
    assert "--trust" in words
    assert "application/vnd.jupyter.widget-view+json" in words

    framed = bundles(rented, "%gpu logs --frame")
    assert "sandbox=" in framed
    assert "allow-same-origin" not in framed
    assert "alert(1)" in framed
    whole = bundles(rented, "%gpu logs --trust")
    assert "<script>alert(1)</script>" in whole
    assert "application/javascript" in whole
    # and what is saved, or played again, is as harmless as what was shown
    assert "alert(1)" not in bundles(rented, "%gpu logs --rich")
    assert rented.run("%gpu export --all out.ipynb").status == "ok"
    saved = (work / "out.ipynb").read_text("utf-8")
    outputs = json.dumps([cell["outputs"] for cell in json.loads(saved)["cells"]])
    assert "alert(2)" not in outputs
    assert "<script" not in outputs
    assert "%gpu logs" in outputs or "left out" in outputs
    # plain cells while it is on
    assert rented.run("%gpu on").status == "ok"
    assert "<script" not in bundles(
        rented, "from IPython.display import HTML\nHTML('<b>x</b><script>1</script>')"
    )
    assert "<script" not in json.dumps(rented.client.inspect("HTML", reply=True, timeout=60)["content"])
    assert rented.run("%gpu off").status == "ok"
    # the user's word holds at once
    assert rented.run("%gpu trust own").status == "ok"
    assert "<script>1" in bundles(rented, "%%gpu\nHTML('<script>1</script>')")


def test_a_prompt_names_the_host(rented: Notebook) -> None:
    message = rented.start("%%gpu\nprint(input('key? '))")
    asked = rented.client.get_stdin_msg(timeout=60)
    assert asked["content"]["prompt"] == "[demo asks] key? "
    rented.client.input("x")
    assert rented.follow(message).text == "x\n"


def test_a_secret_is_there_for_the_cell_and_hidden(rented: Notebook) -> None:
    rented.run("import os; os.environ['CANARY_TOKEN'] = 'hf_canary_77e1'")
    shown = rented.run("%%gpu --secret CANARY_TOKEN\nimport os; print(os.environ['CANARY_TOKEN'])")
    assert shown.text == "****\n"
    after = rented.run("%%gpu\nprint(os.environ.get('CANARY_TOKEN'))")
    assert after.text == "None\n"


def test_the_kernel_of_a_whole_notebook(rented: Notebook) -> None:
    rented.run("%gpu trust stranger")
    with Ledger.open() as ledger:
        name = kernelspecs.folder(ledger.find("demo").id).name
    front = Front(name)
    try:
        front.ready()
        info = front.client.kernel_info(reply=True, timeout=60)["content"]
        assert info["help_links"] == []
        message = front.client.execute(HOSTILE.replace("%%gpu\n", ""))
        sent, idle, reply = [], False, None
        while not (idle and reply):
            if front.client.iopub_channel.msg_ready():
                item = front.client.get_iopub_msg(timeout=60)
                if item["parent_header"].get("msg_id") == message:
                    sent.append(item["content"])
                    idle = idle or item["content"].get("execution_state") == "idle"
            elif front.client.shell_channel.msg_ready():
                reply = front.client.get_shell_msg(timeout=60)["content"]
        text = json.dumps([one for one in sent if "code" not in one])
        for evil in ("alert(1)", "alert(2)", "alert(5)", "alert(6)", "<img src=x", "application/javascript"):
            assert evil not in text, evil
        assert "<b>table</b>" in text
        assert "gpunb trust demo own" in text
        assert reply["payload"] == []
    finally:
        front.close()
