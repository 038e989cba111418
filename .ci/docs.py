"""Build the documentation's site from docs/: ``docs.py OUT``, warnings being errors; what ``make docs`` runs.

``docs.py --check`` only reads the pages and follows their links.

The navigation is docs/index.md, whose lists are read as the table of contents. Pages of verbs are made from
the grammar, those of Python from docstrings. Nothing is loaded from elsewhere: the site works from a folder.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
#: Pages that lie elsewhere in the repository, and the name that each has in the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "gpunb/cli/troubleshooting.md": "troubleshooting.md",
    "tests/FLAKY.md": "flaky.md",
    "gpunb/server/openapi.yaml": "openapi.yaml",
    "LICENSE": "LICENSE.txt",
}
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)]*)?\))")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CONF = """
project = "gpunb"
copyright = "gpunb's authors, BSD-3-Clause"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "gpunb"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
myst_heading_anchors = 4
default_role = "code"
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
highlight_language = "text"
suppress_warnings = ["ref.python"]  # an Offer of users and one of providers
"""
STYLE = """
.account > .highlight::before { content: "needs an account, and costs money"; display: block;
  font-size: 0.75em;
  padding: 0.2em 0.75rem; background: var(--color-background-border);
  color: var(--color-foreground-secondary); }
.sidebar-tree .caption, .sidebar-tree p.caption { margin-top: 1rem; }
article table.docutils { display: block; overflow-x: auto; border: none; box-shadow: none; }
article img { border: 1px solid var(--color-background-border); border-radius: 4px; }
article code.literal { overflow-wrap: anywhere; }
"""
#: What the pages on Python show: a page's name, its module, a sentence.
PYTHON = {
    "gpunb": ("gpunb", "What `import gpunb` gives. [Python](../python-api.md) has examples."),
    "errors": ("gpunb.errors", "Each failure; [troubleshooting](../troubleshooting.md) says what to do."),
    "providers": ("gpunb.providers", "For those who [add a cloud](../adding-a-cloud.md)."),
    "sim": ("gpunb.sim", "For tests against [simulated clouds](../simulated-clouds.md)."),
}  # fmt: skip


def navigation(index: str) -> dict[str, list[str]]:
    """Read the sections of index.md: heading -> pages, as they are linked in its lists."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        found[heading] = re.findall(r"^- \[[^]]+\]\(([^)#]+\.md)\)", body, re.MULTILINE)
    return found


def placed(path: Path) -> str | None:
    """Return where a page or picture of the repository is in the site, None for what is not in it."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    return name.removeprefix("docs/") if name.startswith("docs/") else None


def staged(page: Path, text: str, name: str) -> str:
    """Rewrite a page's links to where things are in the site, and mark the blocks that need an account."""

    def link(found: re.Match[str]) -> str:
        target = placed((page.parent / found[2]).resolve())
        if target is None:
            if found[2].startswith(("verbs/", "api/")):
                return found[0]
            msg = f"{page}: {found[2]} is not in the site; write its path as `code`"
            raise SystemExit(msg)
        return f"{found[1]}{os.path.relpath(target, Path(name).parent)}{found[3]}"

    pieces, at = [], 0
    for fence in FENCE.finditer(text):
        pieces += [LINK.sub(link, text[at : fence.start()]), _block(fence[0])]
        at = fence.end()
    return "".join([*pieces, LINK.sub(link, text[at:])])


def _block(fence: str) -> str:
    first, _, rest = fence.partition("\n")
    words = first.removeprefix("```").split()
    if "account" in words[1:]:
        return f"```{{code-block}} {words[0]}\n:class: account\n\n{rest}"
    return f"```{words[0]}\n{rest}" if words else fence


def verbs(into: Path) -> None:
    """Write a page for each verb with its ``-h``, and the list of them."""
    import click

    from gpunb.cli.main import cli
    from gpunb.cli.registry import GROUPS, further_verbs, load

    pages = {path: path.read_text("utf-8") for path in sorted((ROOT / "docs").rglob("*.md"))}
    groups = {**GROUPS, "Further": dict.fromkeys(sorted(further_verbs()), "")}
    parent = click.Context(cli, info_name="gpunb", terminal_width=96, max_content_width=96)
    for listed in groups.values():
        for verb, text in listed.items():
            command = load(verb) if text else further_verbs()[verb].load()
            shown = click.Context(command, info_name=verb, parent=parent).get_help()
            name = verb.replace(" ", "-")
            told = re.compile(rf"(?:gpunb|%gpu) {verb}\b|`{verb} ")
            also = [
                f"- [{_title(body)}](../{path.relative_to(ROOT / 'docs').as_posix()})"
                for path, body in pages.items()
                if told.search(body)
            ]
            # not in the sidebar: sixty more entries on each page would double the time of a build
            lines = [
                "---",
                "orphan: true",
                "---",
                "",
                f"# {verb}",
                "",
                text,
                "",
                f"In a notebook: `%gpu {verb}`.",
                "",
                "```text",
                shown,
                "```",
                "",
            ]
            lines += ["Pages that use it:", "", *also, ""] if also else []
            (into / f"{name}.md").write_text("\n".join(lines), "utf-8")
    rows = ["# Every verb", "", "Made from the grammar: what `gpunb VERB -h` and `%gpu VERB -h` show.", ""]
    for group, listed in groups.items():
        rows += [f"## {group}", "", "| | |", "|---|---|"]
        rows += [f"| [{verb}]({verb.replace(' ', '-')}.md) | {text} |" for verb, text in listed.items()] + [
            ""
        ]
    (into / "index.md").write_text("\n".join(rows), "utf-8")


def _title(page: str) -> str:
    return page.partition("\n")[0].removeprefix("# ")


def python(into: Path) -> None:
    """Write the pages of Python's names, which autodoc fills."""
    import importlib

    for name, (module, text) in PYTHON.items():
        lines = [f"# {module}", "", text, "", "```{eval-rst}"]
        loaded = importlib.import_module(module)
        for public in sorted(loaded.__all__):
            value = getattr(loaded, public)
            if isinstance(value, type):
                lines += [f".. autoclass:: {module}.{public}", "   :members:", ""]
            elif callable(value) and public not in {"sessions", "offers"}:
                lines += [f".. autofunction:: {module}.{public}", ""]
            elif public in {"sessions", "offers"}:  # packages that can be called
                lines += [f".. autofunction:: gpunb.python_api.{public}", ""]
        (into / f"{name}.md").write_text("\n".join([*lines, "```", ""]), "utf-8")
    listed = [f"| [{module}]({name}.md) | {text} |" for name, (module, text) in PYTHON.items()]
    head = ["# Python's names", "", "Made from the docstrings.", "", "| | |", "|---|---|"]
    tree = ["", "```{toctree}", ":hidden:", "", *PYTHON, "```", ""]
    (into / "index.md").write_text("\n".join([*head, *listed, *tree]), "utf-8")


def stage(into: Path) -> None:
    """Write all sources of the site into the folder `into`."""
    docs = ROOT / "docs"
    shutil.copytree(docs, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md"))
    pages = {path.relative_to(docs).as_posix(): path for path in docs.rglob("*.md")}
    pages |= {
        name: ROOT / path for path, name in ELSEWHERE.items() if path.endswith(".md") and path != "README.md"
    }
    for path, name in ELSEWHERE.items():
        if not path.endswith(".md"):
            shutil.copy(ROOT / path, into / name)
    index = (docs / "index.md").read_text("utf-8")
    for name, path in pages.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(staged(path, path.read_text("utf-8"), name), "utf-8")
    named: set[str] = set()
    with (into / "index.md").open("a", encoding="utf-8") as file:
        for heading, links in navigation(index).items():
            inside = [placed((docs / link).resolve()) or link for link in links]
            named |= set(inside)
            file.write(f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n" + "\n".join(inside) + "\n```\n")
        left = sorted(set(pages) - named - {"index.md"})
        if left:
            file.write("\n```{toctree}\n:hidden:\n:caption: More\n\n" + "\n".join(left) + "\n```\n")
    for folder, write in (("verbs", verbs), ("api", python)):
        (into / folder).mkdir()
        write(into / folder)
    (into / "_static").mkdir()
    (into / "_static" / "site.css").write_text(STYLE, "utf-8")
    (into / "conf.py").write_text(CONF, "utf-8")


def main() -> int:
    """Stage the sources in a temporary folder and build; return Sphinx's exit code."""
    from sphinx.cmd.build import main as sphinx

    check = sys.argv[1] == "--check"
    with tempfile.TemporaryDirectory(prefix="gpunb-docs-") as folder:
        source = Path(folder, "source")
        out = Path(folder, "out") if check else Path(sys.argv[1]).absolute()
        shutil.rmtree(out, ignore_errors=True)
        stage(source)
        kind = "dummy" if check else "html"
        words = ["-q", "-W", "--keep-going", "-b", kind, "-d", f"{folder}/doctrees", str(source), str(out)]
        code = int(sphinx(words))
    if code == 0 and not check:
        print(f"the site: {out / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
