"""Execute the notebooks and scripts of the examples here and say what happened: what ``make demo`` runs.

Everything it makes lies under build/demo: a gpunb home of its own (your sessions are
not touched), the executed notebook and its HTML. Whatever happens, the rental ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# What the pretended GPU costs; anything above zero, so that there is a bill to look at.
PRICE_USD_H = "3.60"
NOTEBOOKS = ("quickstart.ipynb", "project/ice.ipynb")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "demo")
    args = parser.parse_args()
    begin = time.perf_counter()
    build: Path = args.build.absolute()
    environment = prepare(build)
    os.environ.update(environment)

    failure: BaseException | None = None
    try:
        for notebook in NOTEBOOKS:
            print(f"examples/{notebook} on this machine (provider: local)\n")
            execute(build / notebook)
        once(build)
        functions()
    except BaseException as err:  # noqa: BLE001 - Ctrl-C too: the rental must end before we go
        failure = err
    left = end(build)
    if failure is None:
        export(build)
        print(f"\nleft for you: {show(build / 'quickstart.html')} and {show(build / 'quickstart.ipynb')}")
    print(left or "nothing is left running")
    print(f"took {time.perf_counter() - begin:.1f} s")
    if failure is not None:
        why = str(failure) or type(failure).__name__
        print(f"\nthe demo did not come to its end: {why}", file=sys.stderr)
    return 1 if failure is not None or left else 0


def prepare(build: Path) -> dict[str, str]:
    """A clean folder, and the variables that keep this run apart from everything else."""
    home = build / "home"
    os.environ["GPUNB_HOME"] = str(home)
    if home.exists():
        gpunb("down", "--all", "--yes")  # an earlier run that was killed
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    for name in ("quickstart.ipynb", "train.py"):
        shutil.copy(HERE / name, build / name)
    shutil.copytree(HERE / "project", build / "project")
    return {
        "GPUNB_HOME": str(home),
        "GPUNB_CLOUDS": "local",
        "GPUNB_PROVIDERS__LOCAL__USD_H": PRICE_USD_H,
        # the kernel of this environment, and nobody's start-up files
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(build / "ipython"),
    }


def execute(path: Path) -> None:
    """Run every cell, with one line each; the notebook is saved even if a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    started = 0.0

    def on_start(cell: Any, **_: Any) -> None:
        nonlocal started
        started = time.perf_counter()
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            print(f"  {cell.source.splitlines()[0].lstrip('# ')}", flush=True)

    def on_end(cell: Any, **_: Any) -> None:
        took = time.perf_counter() - started
        first = cell.source.splitlines()[0]
        print(f"    {took:5.1f} s  {shorten(first, 40):40}  {shorten(last_line(cell), 60)}", flush=True)

    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # not one line on how the kernel talks to us
        on_cell_start=on_start,
        on_cell_executed=on_end,
    )
    try:
        client.execute()
    finally:
        nbformat.write(notebook, path)


def once(build: Path) -> None:
    """Run once.py with one command, and check what came back of it."""
    folder = build / "once"
    folder.mkdir()
    shutil.copy(HERE / "once.py", folder)
    begin = time.perf_counter()
    ran = gpunb("once", "--for", "30m", "--yes", "once.py", "--", "--points", "50000", cwd=folder)
    if ran.returncode != 0 or not (folder / "out" / "pi.json").is_file():
        msg = f"gpunb once once.py ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        raise RuntimeError(msg)
    took, came = time.perf_counter() - begin, show(folder / "out" / "pi.json")
    print(f"\nexamples/once.py: {ran.stdout.strip()}; {came} came back ({took:.1f} s)")


def functions() -> None:
    """Run functions.py, whose function is called on a machine of its own."""
    begin = time.perf_counter()
    script = [sys.executable, str(HERE / "functions.py")]
    ran = subprocess.run(
        script, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    if ran.returncode != 0 or "y = 2.00 x + 1.00" not in ran.stdout:
        msg = f"functions.py ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
        raise RuntimeError(msg)
    print(f"examples/functions.py: {ran.stdout.strip()} ({time.perf_counter() - begin:.1f} s)")


def last_line(cell: Any) -> str:
    """The last line that a reader of the cell's output sees."""
    found = ""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            text = output.text
        elif output.output_type == "error":
            text = f"{output.ename}: {output.evalue}"
        else:
            text = output.data.get("text/plain", "")
        lines = [line.split("\r")[-1].strip() for line in str(text).splitlines()]
        found = next((line for line in reversed(lines) if line), found)
    return found


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def show(path: Path) -> str:
    """`path` as it can be typed here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def export(build: Path) -> None:
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(build / "quickstart.ipynb", as_version=4)
    html, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    (build / "quickstart.html").write_text(html, encoding="utf-8")


def gpunb(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    script = Path(sysconfig.get_path("scripts"), "gpunb")
    return subprocess.run(
        [str(script), *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def end(build: Path) -> str:
    """End what the notebook did not, look for left-over processes; "" or what is wrong."""
    import psutil

    if not (build / "home").exists():
        return ""
    ended = gpunb("down", "--all", "--yes")
    if ended.returncode != 0:
        return f"WARNING: gpunb down --all failed:\n{ended.stdout}{ended.stderr}"
    deadline = time.monotonic() + 20
    while True:
        running = [process for process in psutil.process_iter() if belongs(process, build / "home")]
        if not running:
            return ""
        for process in running:
            if watches(process):
                process.terminate()
        if time.monotonic() > deadline:
            listed = ", ".join(f"{process.pid} ({process.name()})" for process in running)
            return f"WARNING: these processes are still running: {listed}"
        time.sleep(0.2)


def watches(process: Any) -> bool:
    """Whether it is the supervisor, which would leave by itself a little later: nothing is rented now."""
    import psutil

    try:
        return "supervise" in process.cmdline()
    except psutil.Error:
        return False


def belongs(process: Any, home: Path) -> bool:
    """Whether a process was started by this run or its machines, and is not this one."""
    import psutil

    if process.pid == os.getpid():
        return False
    try:
        # machines and their agents get none of our environment; their folder is under the home
        return (
            any(str(home) in word for word in process.cmdline())
            or Path(process.cwd()).is_relative_to(home)
            or process.environ().get("GPUNB_HOME") == str(home)
        )
    except (psutil.Error, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
