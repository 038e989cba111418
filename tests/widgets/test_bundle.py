"""The widgets' files: each stands alone, and joined they are one module that runs."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.machines.chromium import STATIC, blank

from gpunb.notebook.widgets.bundle import bundle

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.*s"))
SCRIPTS = [name for name in FILES if name.endswith(".js")]
STYLES = [name for name in FILES if name.endswith(".css")]
WIDGETS = [name for name in SCRIPTS if name.endswith("_widget.js")]
# at the beginning of a line: what is inside a function is indented
DECLARED = re.compile(r"^(?:async )?(?:function|class|const|let|var) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r'^import \{ ([^}]+) \} from "([^"]+)";$', re.MULTILINE)
EXPORTED = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)


def test_there_are_widgets() -> None:
    assert WIDGETS == ["panel_widget.js", "picker_widget.js"]


@pytest.mark.parametrize("name", WIDGETS)
def test_no_two_modules_of_a_widget_declare_the_same_name(name: str) -> None:
    names = Counter(DECLARED.findall(bundle(name)))
    assert {"render", "talk", "clean", "HIDDEN"} <= set(names)
    assert [one for one, times in names.items() if times > 1] == []


@pytest.mark.parametrize("name", WIDGETS)
def test_a_joined_text_imports_nothing_and_exports_the_widget(name: str) -> None:
    text = bundle(name)
    assert not re.search(r"^import|^\s*import\(", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE) == ["export default { render };"]
    # what is used when a module is read stands before it
    assert text.index("const HIDDEN =") < text.index("function render(")


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_imported_is_there_and_is_used(name: str) -> None:
    text = (STATIC / name).read_text("utf-8")
    rest = IMPORTED.sub("", text)
    assert not re.search(r"^import", rest, re.MULTILINE), "one form of import: the joined text needs it"
    for names, where in IMPORTED.findall(text):
        there = posixpath.normpath(posixpath.join(posixpath.dirname(name), where))
        exported = set(EXPORTED.findall((STATIC / there).read_text("utf-8")))
        wanted = set(names.split(", "))
        assert wanted <= exported, there
        assert [one for one in wanted if not re.search(rf"\b{one}\b", rest)] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_short_and_put_text_as_text(name: str) -> None:
    text = (STATIC / name).read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(", text)
    assert len(text.splitlines()) <= 400


def test_each_script_and_style_is_part_of_a_widget() -> None:
    scripts = "".join(bundle(name) for name in WIDGETS)
    for name in SCRIPTS:
        assert (STATIC / name).read_text("utf-8").splitlines()[0] in scripts, name
    styles = bundle("picker.css") + bundle("panel.css")
    for name in STYLES:
        last = (STATIC / name).read_text("utf-8").rstrip().rpartition("\n\n")[2]
        assert last in styles or name == "picker.css", name


@pytest.mark.parametrize("name", ["picker.css", "panel.css"])
def test_a_joined_style_has_the_colours_once_and_imports_nothing(name: str) -> None:
    text = bundle(name)
    assert "@import" not in text
    assert text.count("--gp-bg:") == 1
    assert text.count("{") == text.count("}")


def test_a_file_that_two_import_stands_once_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    static = tmp_path / "static"
    (static / "parts").mkdir(parents=True)
    (static / "a.js").write_text('import { b } from "./parts/b.js";\nimport { c } from "./c.js";\nb(c);\n')
    (static / "parts" / "b.js").write_text('import { c } from "../c.js";\nexport const b = c;\n')
    (static / "c.js").write_text("export async function c() {}\n")
    monkeypatch.setattr("gpunb.notebook.widgets.bundle.files", lambda _: tmp_path)
    assert bundle.__wrapped__("a.js") == "async function c() {}\n\nconst b = c;\n\nb(c);\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDGETS)
def test_a_joined_text_runs_in_a_browser(browser: Browser, name: str) -> None:
    with blank(browser) as page:
        kinds = page.evaluate(
            """async (text) => {
              const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
              const { default: widget } = await import(url);
              const sent = [];
              const model = { on() {}, off() {}, send: (message) => sent.push(message.kind) };
              const el = document.getElementById("here");
              const end = widget.render({ model, el });
              const shown = el.querySelectorAll("section.gpunb").length;
              end();
              return [sent[0], shown, el.children.length];
            }""",
            bundle(name),
        )
        assert kinds == ["hello", 1, 0]
