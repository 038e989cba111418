"""What a host's file may be called to come by itself."""

from __future__ import annotations

import pytest

from gpunb.sessions.project.gate import unfit, why_held

CODE = [
    "helpers.py", "HELPERS.PY", "pkg/__init__.py", "x.pyc", "x.pth", "native.so", "native.so.1", "x.dll",
    "run.sh", "a.ipynb", "conftest.py", "Makefile", "makefile.win", "GNUmakefile", "justfile", "setup.cfg",
    "pyproject.toml", "tox.ini", ".env", ".bashrc", ".vscode/tasks.json", "a/.hidden/b.txt",
    "requirements.txt", "requirements-dev.txt", "package.json", "Dockerfile", "x.desktop", "x.exe", "x.bat",
    "x.js", "sitecustomize.py", "gpunb.toml", "x.dist-info/METADATA", ".gitattributes",
    ".pre-commit-config.yaml", "CMakeLists.txt", "x.command", "helpers.py.", "helpers.py::$DATA",
    "git~1/config", "noxfile.py", "environment.yml", "CLAUDE.md",
]  # fmt: skip
DATA = [
    "out/log.txt", "data/x.csv", "model.pt", "model.safetensors", "x.npz", "x.parquet", "x.png", "x.json",
    "metrics.jsonl", "x.yaml", "x.pkl", "x.bin", "checkpoint-100/optimizer.pt", "events.out.tfevents.1",
    "x.onnx", "report.html", "x.tar.gz", "notes.md", "x.log", "README",
]  # fmt: skip


@pytest.mark.parametrize("path", CODE)
def test_code_is_held(path: str) -> None:
    assert why_held(path)


@pytest.mark.parametrize("path", DATA)
def test_results_come(path: str) -> None:
    assert not why_held(path)
    assert not unfit(path)


@pytest.mark.parametrize(
    "path",
    [
        "", "../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a\0b", "a\nb", "a\x1b[2J", "a\u202eb",
        "x" * 300, "/".join("x" * 200 for _ in range(30)), ".git/hooks/post-checkout", "a/.GIT/config",
        "a/.g\u200cit/config",
    ],
)  # fmt: skip
def test_names_that_never_come(path: str) -> None:
    assert unfit(path)
