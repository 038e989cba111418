"""A notebook that ran on a stranger's host: its outputs are made harmless before the file is written."""

from __future__ import annotations

import json

from nbformat import v4

from gpunb.services.running import notebook_jobs


def test_outputs_of_a_strangers_notebook() -> None:
    book = v4.new_notebook()
    book.cells = [
        v4.new_code_cell(
            "x",
            outputs=[
                v4.new_output(
                    "display_data", {"text/html": "<b>t</b><script>1</script>", "application/javascript": "x"}
                ),
                v4.new_output("stream", name="stdout", text="\x1b]0;t\x07hi"),
                v4.new_output("error", ename="E", evalue="\x1b]0;t\x07", traceback=["\x1b]8;;x\x07l"]),
            ],
        ),
        v4.new_markdown_cell("m", attachments={"x.svg": {"image/svg+xml": "<svg onload=x>"}}),
    ]
    notebook_jobs.harmless(book)
    text = json.dumps(book.cells)
    for evil in ("script>1", "javascript", "onload", "\\u001b]"):
        assert evil not in text
    assert "<b>t</b>" in text
    assert book.cells[0].outputs[1].text == "hi"
