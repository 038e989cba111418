from __future__ import annotations

from pathlib import Path

import pytest

from gpunb.errors import BadInput
from gpunb.services.running import packages

LOCK = """
version = 1
requires-python = ">=3.10"

[[package]]
name = "mine"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "colorama", marker = "sys_platform == 'win32'" },
    { name = "requests", extra = ["socks"] },
    { name = "forked" },
]

[[package]]
name = "colorama"
version = "0.4.6"
source = { registry = "https://example.org/simple" }

[[package]]
name = "requests"
version = "2.32.3"
source = { registry = "https://example.org/simple" }
dependencies = [
    { name = "idna" },
    { name = "colorama", marker = "python_full_version < '3.11'" },
]

[package.optional-dependencies]
socks = [{ name = "pysocks" }]

[[package]]
name = "idna"
version = "3.10"
source = { registry = "https://example.org/simple" }
dependencies = [{ name = "requests" }]

[[package]]
name = "pysocks"
version = "1.7.1"
source = { registry = "https://example.org/simple" }

[[package]]
name = "forked"
version = "1.0"
source = { git = "https://example.org/forked?rev=main#abc123" }

[[package]]
name = "unrelated"
version = "9.9"
source = { registry = "https://example.org/simple" }
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_lock_keeps_versions_markers_extras_and_leaves_the_project_out(tmp_path):
    needs = packages.read(write(tmp_path / "uv.lock", LOCK))
    assert needs.tool == "pip"
    assert needs.files["requirements.txt"].splitlines() == [
        "colorama==0.4.6 ; (python_full_version < '3.11') or (sys_platform == 'win32')",
        "forked @ git+https://example.org/forked@abc123",
        "idna==3.10",
        "pysocks==1.7.1",
        "requests==2.32.3",
    ]


def test_a_real_parser_takes_what_is_written(tmp_path):
    packaging = pytest.importorskip("packaging.requirements")
    needs = packages.read(write(tmp_path / "uv.lock", LOCK))
    for line in needs.files["requirements.txt"].splitlines():
        packaging.Requirement(line)


def test_included_files_go_along(tmp_path):
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "base.txt", "numpy\n-c limits.txt\n")
    write(tmp_path / "deep" / "limits.txt", "numpy<3\n")
    needs = packages.read(write(tmp_path / "requirements.txt", "# a note\n-r deep/base.txt\nrich==13.7\n"))
    assert needs.files == {
        "0.txt": "# a note\n-r 1.txt\nrich==13.7\n",
        "1.txt": "numpy\n-c 2.txt\n",
        "2.txt": "numpy<3\n",
    }


def test_a_projects_dependencies(tmp_path):
    path = write(tmp_path / "pyproject.toml", '[project]\nname = "x"\ndependencies = ["a>=1", "b[c]"]\n')
    assert packages.read(path).files == {"requirements.txt": "a>=1\nb[c]\n"}


def test_a_conda_environment_goes_as_it_is(tmp_path):
    text = "name: x\ndependencies:\n  - numpy\n"
    needs = packages.read(write(tmp_path / "environment.yml", text))
    assert (needs.tool, needs.files) == ("conda", {"environment.yml": text})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("requirements.txt", "-e .\n", "only on this machine"),
        ("requirements.txt", "../mine\n", "only on this machine"),
        ("requirements.txt", "-r gone.txt\n", "gone.txt"),
        ("requirements.txt", "-r requirements.txt\n", "includes itself"),
        ("pyproject.toml", "[tool.x]\n", r"no \[project\]"),
        ("pyproject.toml", '[project]\ndynamic = ["dependencies"]\n', "dynamic"),
        ("pyproject.toml", "[project]\ndependencies = 3\n", "not a list"),
        ("pyproject.toml", "[[[", "not TOML"),
        ("uv.lock", "version = 1\n", "no project"),
        ("environment.yml", "name: x\n", "not a conda environment"),
        ("setup.cfg", "", "not a kind of file"),
    ],
)
def test_what_cannot_be_sent_is_named(tmp_path, name, text, said):
    with pytest.raises(BadInput, match=said):
        packages.read(write(tmp_path / name, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        packages.read(tmp_path / "requirements.txt")


@pytest.mark.slow
def test_rent_installs_and_a_failure_is_explained(gpunb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "requirements.txt", "pip\n")
    ran = gpunb("rent", "--name", "fine", "--for", "30m", "--requirements", "requirements.txt")
    assert ran.code == 0, ran.err
    jobs = gpunb("runs", "--jobs", "--json").json
    assert [(job["name"], job["state"]) for job in jobs] == [("install requirements.txt", "ok")]
    assert gpunb("down", "--yes").code == 0
    write(tmp_path / "bad.txt", "not a requirement at all !!\n")
    ran = gpunb("rent", "--name", "bad", "--for", "30m", "--requirements", "bad.txt")
    assert ran.code != 0
    assert "bad.txt could not be installed on bad" in ran.err
    assert "not a requirement at all" in ran.err
    assert "bad runs and is billed" in ran.err
    ran = gpunb("rent", "--name", "none", "--requirements", "gone.txt")
    assert ran.code == 2
    assert len(gpunb("ps", "--json").json) == 1


@pytest.mark.slow
def test_a_host_without_conda_says_so(demo, tmp_path):
    from gpunb.cli.context import Context
    from gpunb.errors import JobFailed

    path = write(tmp_path / "environment.yml", "dependencies:\n  - numpy\n")
    context = Context("terminal")
    session = context.session(None)
    with pytest.raises(JobFailed, match="conda"):
        packages.install(context, session, context.agent(session), path=path, needs=packages.read(path))
    context.close()
