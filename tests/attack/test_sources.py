"""No shell line is built from data: what runs elsewhere goes through one quoting function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "gpunb"
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}
REMOTE = {"channel", "exec_command"}
# a user's own shell line, typed as one: a job's `--shell` on the host (agent), and what the simulated
# or local host's SSH server is asked to run, as every sshd does
TYPED = {
    "agent/daemon/jobs.py",
    "agent/job/runner.py",
    "providers/local/children.py",
    "providers/local/session.py",
}


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    found = call.func
    return found.attr if isinstance(found, ast.Attribute) else getattr(found, "id", "")


def shell_calls(path: Path) -> list[str]:
    wrong = []
    for call in calls(path):
        asks = [one for one in call.keywords if one.arg == "shell"]
        is_true = any(isinstance(one.value, ast.Constant) and one.value.value is True for one in asks)
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        module = getattr(owner, "id", "")
        if is_true or (name_of(call) in SHELLS and module in {"os", "subprocess", "asyncio", "commands"}):
            wrong.append(f"{path.name}:{call.lineno}")
    return wrong


def built_lines(path: Path) -> list[str]:
    """Remote commands that are put together on the spot from other things than `quote`."""
    wrong = []
    for call in calls(path):
        if name_of(call) in REMOTE and call.args:
            first = call.args[0]
            if isinstance(first, (ast.JoinedStr, ast.BinOp)):
                wrong.append(f"{path.name}:{call.lineno}")
    return wrong


def test_no_call_hands_a_line_to_a_shell() -> None:
    found = {str(p.relative_to(ROOT)): lines for p in sources() if (lines := shell_calls(p))}
    assert set(found) <= TYPED, found


def test_no_remote_command_is_an_f_string() -> None:
    found = {str(p.relative_to(ROOT)): lines for p in sources() if (lines := built_lines(p))}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ["subprocess.run(line, shell=True)", "os.system(line)", "os.popen(x)", "subprocess.getoutput(x)"],
)
def test_the_look_for_shells_finds_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.py").write_text(text)
    assert shell_calls(tmp_path / "x.py")


def test_the_look_for_built_lines_finds_them(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        'line.channel(f"rm {x}")\nline.channel("rm " + x)\nline.channel(quote(["rm", x]))'
    )
    assert built_lines(tmp_path / "x.py") == ["x.py:1", "x.py:2"]
