"""Draw the tagged cells of an executed notebook: ``picture.py NOTEBOOK PNG``.

Only cells tagged "picture" are drawn, so that a README shows the story and not all of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from PIL import Image, ImageChops

WIDTH, HEIGHT = 900, 4000  # the page, in CSS pixels; what is empty at its end is cut off
MARGIN = 16
STYLE = """<style>
body { padding: 8px !important; }
body.jp-Notebook { box-shadow: none !important; }
.jp-InputPrompt, .jp-OutputPrompt { min-width: 64px !important; width: 64px !important; }
</style></head>"""


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    notebook = nbformat.read(source, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "picture" in cell.metadata.get("tags", [])]
    if not notebook.cells:
        sys.exit(f"{source} has no cell tagged 'picture'")
    html, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    browser = next(
        (found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None
    )
    if browser is None:
        sys.exit("no chromium found")
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "page.png")
        page.write_text(html.replace("</head>", STYLE, 1), encoding="utf-8")
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",  # a page of ours, often drawn by root in a container
                "--disable-gpu",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{HEIGHT}",
                "--virtual-time-budget=5000",
                f"--screenshot={shot}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        picture = Image.open(shot).convert("RGB")
    blank = Image.new("RGB", picture.size, picture.getpixel((WIDTH - 1, HEIGHT - 1)))
    box = ImageChops.difference(picture, blank).getbbox()
    bottom = min(HEIGHT, (box[3] if box else HEIGHT) + MARGIN)
    target.parent.mkdir(parents=True, exist_ok=True)
    # 128 colours are plenty for text and a plot, and a third of the size
    picture.crop((0, 0, WIDTH, bottom)).quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {WIDTH} x {bottom}, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
