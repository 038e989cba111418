"""Outputs kept in a notebook's form, and pictures written to files."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from gpunb.output import TextSink
from gpunb.output.figures import Figures
from gpunb.output.kept import KeptOutputs

if TYPE_CHECKING:
    from pathlib import Path

PNG = base64.b64encode(b"\x89PNG picture").decode()


def shown(data: Any, name: str = "") -> dict[str, Any]:
    return {"data": data, "metadata": {}, "transient": {"display_id": name} if name else {}}


def live() -> tuple[TextSink, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return TextSink(out, err), out, err


def test_what_is_kept_is_a_notebooks_and_is_shown_at_once() -> None:
    sink, out, err = live()
    kept = KeptOutputs(sink)
    kept.stream("stdout", "a")
    kept.stream("stdout", "b\n")
    kept.stream("stderr", "c\n")
    kept.display(shown({"image/png": PNG, "text/plain": "fig"}, "x"), update=False)
    kept.display(shown({"text/plain": "newer"}, "x"), update=True)
    kept.result({**shown({"text/plain": "1"}), "execution_count": 3})
    kept.error({"ename": "E", "evalue": "v", "traceback": ["E: v"]})
    kept.note("of ours")
    assert out.getvalue() == "ab\nfig\n1\n"
    assert err.getvalue() == "c\nE: v\ngpunb: of ours\n"
    kept.finish()
    assert kept.text("stdout") == "ab\n"
    assert [one["output_type"] for one in kept.made] == [
        "stream",
        "stream",
        "display_data",
        "execute_result",
        "error",
    ]
    assert kept.made[2]["data"] == {"text/plain": "newer"}
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    book.cells[0].outputs = kept.made
    nbformat.validate(nbformat.from_dict(book))


@pytest.mark.parametrize("wait", [True, False])
def test_a_clear_drops_what_was_kept(wait: bool) -> None:
    kept = KeptOutputs()
    kept.stream("stdout", "old")
    kept.clear(wait=wait)
    assert len(kept.made) == int(wait), "with wait it stays until the next output"
    kept.stream("stdout", "new")
    assert [one["text"] for one in kept.made] == ["new"]
    kept.clear(wait=wait)
    kept.finish()
    assert kept.made == []


def test_what_only_some_sinks_have_is_the_inner_ones() -> None:
    class Notebook(TextSink):
        def failure(self, error: Exception) -> Exception:
            return error

    assert hasattr(KeptOutputs(Notebook()), "failure")
    assert not hasattr(KeptOutputs(TextSink()), "failure")
    assert not hasattr(KeptOutputs(), "failure")


def test_a_picture_is_a_file_and_the_rest_is_shown(tmp_path: Path) -> None:
    sink, out, err = live()
    figures = Figures(sink, tmp_path / "made" / "here", "run")
    figures.display(shown({"image/png": PNG, "text/plain": "<Figure>"}), update=False)
    figures.result(shown({"image/svg+xml": "<svg/>", "text/plain": "svg"}))
    figures.display(shown({"text/plain": "text"}), update=False)
    assert [path.name for path in figures.files] == ["run-1.png", "run-2.svg"]
    assert figures.files[0].read_bytes() == base64.b64decode(PNG)
    assert figures.files[1].read_text() == "<svg/>"
    assert out.getvalue() == "text\n"
    assert err.getvalue().splitlines() == [f"gpunb: picture: {path}" for path in figures.files]


def test_a_file_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "run-1.png").write_text("mine")
    sink, out, err = live()
    figures = Figures(sink, tmp_path, "run")
    figures.display(shown({"image/png": PNG, "text/plain": "<Figure>"}), update=False)
    assert (tmp_path / "run-1.png").read_text() == "mine"
    assert figures.files == []
    assert "was not written" in err.getvalue()
    assert out.getvalue() == "<Figure>\n"


@pytest.mark.parametrize("value", ["no base64!", 5, None, ["a", 5], {"a": 1}])
def test_a_picture_that_is_none(tmp_path: Path, value: Any) -> None:
    sink, out, err = live()
    figures = Figures(sink, tmp_path, "run")
    for kind in ("image/png", "image/svg+xml"):
        figures.display(shown({kind: value, "text/plain": "shown"}), update=False)
    assert out.getvalue().count("shown\n") + len(figures.files) == 2
    assert err.getvalue()
    assert not any(path.suffix == ".png" for path in tmp_path.iterdir())
