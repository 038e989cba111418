from __future__ import annotations

from importlib import metadata

import pytest

from gpunb.errors import RemoteCellError
from gpunb.services.running import host_python


def missing(module, tmp_path):
    error = RemoteCellError("ModuleNotFoundError", f"No module named '{module}'", ["trace"])
    host_python.explain(error, tmp_path)
    return error


def test_the_version_that_is_installed_here_under_its_distributions_name(tmp_path):
    version = metadata.version("python-dateutil")
    assert missing("dateutil.parser", tmp_path).hint == f"gpunb pip install python-dateutil=={version}"


def test_not_here_either_but_well_known(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    assert missing("sklearn", tmp_path).hint == "gpunb pip install scikit-learn"
    assert missing("somethingelse", tmp_path).hint is None  # a guess would install a stranger's package


def test_a_module_beside_the_notebook_is_sent(tmp_path):
    (tmp_path / "helpers.py").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    for name in ("helpers", "package.inner"):
        assert "%%gpu --sync ." in missing(name, tmp_path).hint


def test_a_project_of_this_machine_is_sent(tmp_path):
    # gpunb itself is installed from its folder where it is developed
    found = metadata.distribution("gpunb").read_text("direct_url.json") or ""
    if "dir_info" not in found:
        pytest.skip("gpunb is not installed from a folder here")
    assert "--sync" in missing("gpunb", tmp_path).hint


def test_the_standard_library_is_not_on_any_index(tmp_path):
    assert "Python" in missing("tomllib", tmp_path).hint


def test_the_hint_stands_under_the_remote_traceback(tmp_path):
    error = missing("dateutil", tmp_path)
    assert error._render_traceback_()[0] == "trace"
    assert error._render_traceback_()[-1].startswith("next: gpunb pip install")
    other = RemoteCellError("ValueError", "No module named 'dateutil'", ["trace"])
    host_python.explain(other, tmp_path)
    assert other._render_traceback_() == ["trace"]
