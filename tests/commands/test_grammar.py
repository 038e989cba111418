"""The grammar itself: verbs, options, help, did-you-mean, in both doors."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from support.rentals.ledgers import ready

from gpunb.cli.command import CloudOption
from gpunb.cli.context import Context
from gpunb.cli.main import invoke, words
from gpunb.cli.registry import CLOUDS, RENAMED, VERBS, module_name, split
from gpunb.errors import BadInput, SessionNotFound
from gpunb.providers import names as clouds
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_an_example(gpunb: Gpunb, name: str) -> None:
    shown = gpunb(*name.split(), "-h")
    assert shown.code == 0
    assert "Example" in shown.out
    assert f"gpunb {name}" in shown.out.split("Example")[1]
    assert "--json" in shown.out


@pytest.mark.parametrize("name", VERBS)
def test_every_example_is_in_the_grammar(name: str, home: Path) -> None:
    command = importlib.import_module(module_name(name)).command
    assert command.name == name
    for line in command.example.splitlines():
        verb, args = split(shlex.split(line))
        assert verb == name
        args = args[: args.index(">>")] if ">>" in args else args
        args = args[: args.index(">")] if ">" in args and name == "completion" else args
        with command.make_context(name, args, obj=Context("terminal")):
            pass


OF_CLOUDS = re.compile(r"\((?:not on )?(?:" + "|".join(clouds()) + r")\b", re.IGNORECASE)


def test_what_only_some_clouds_can_do_is_in_a_section_of_its_own(gpunb: Gpunb) -> None:
    marked = 0
    for name in VERBS:
        command = importlib.import_module(module_name(name)).command
        single = {param.name for param in command.params if isinstance(param, CloudOption)}
        marked += len(single)
        for param in command.params:
            if isinstance(param, click.Option) and OF_CLOUDS.search(param.help or ""):
                assert param.name in single, (name, param.name)
    assert marked > 10
    general, own = gpunb("rent", "-h").out.split("Options of single clouds")
    assert "--hostname" in own
    assert "--hostname" not in general


def test_an_old_name_is_its_new_line_and_says_so(gpunb: Gpunb) -> None:
    with Ledger.open() as ledger:
        ready(ledger, name="demo")
        ledger.lead("detached", 3600.0)
    for old, new in RENAMED.items():
        assert gpunb(old, "-h").out == gpunb(*new.split(), "-h").out
        plain, renamed = gpunb(*new.split(), "nosuch", "x"), gpunb(old, "nosuch", "x")
        told, _, rest = renamed.err.partition("\n")
        assert told == f"gpunb {old} is gpunb {new} now; the old name goes soon"
        assert (renamed.code, renamed.out, rest) == (plain.code, plain.out, plain.err)
        plain, renamed = gpunb(*new.split(), "x", "x", "--json"), gpunb(old, "x", "x", "--json")
        assert (renamed.code, renamed.out, renamed.err) == (plain.code, plain.out, plain.err)


@pytest.mark.parametrize(
    ("line", "words_expected"),
    [
        ("rnt", ["no verb 'rnt'", "did you mean rent"]),
        ("zzzzzz", ["no verb 'zzzzzz'", "-h lists the verbs"]),
        ("vast bidd", ["vast has no verb 'bidd'", "did you mean bid"]),
        ("vast bid", ["vast bid", "is missing"]),
        ("logs x --rich --tail 3", ["logs --rich", "--tail would have no effect"]),
        ("ps --al", ["no option --al", "did you mean --all"]),
        ("rent --buget 5", ["no option --buget", "did you mean --budget"]),
        ("extend 2x", ["'2x'", "90m, 2h"]),
        ("extend 5", ["'5'", "90m, 2h"]),
        ("extend --budget five", ["--budget", "'five'", "US dollars"]),
        ("logs x --tail 0", ["--tail", "0"]),
        ("cancel", ["RUN", "missing"]),
        ("forward notaport", ["'notaport' is not a whole number"]),
        ("sync a b", ["'a' 'b'", "with a colon"]),
        ("sync :a :b", ["':a' ':b'", "only one"]),
        ("run", ["needs a script"]),
        ("run -m x --shell y", ["-m", "--shell"]),
        ("run t.py --epochs 3", ["no option --epochs", "-- --epochs"]),
        ("run missing.py", ["no script 'missing.py'", ":missing.py"]),
        ("run --env 1=2 --shell true", ["--env '1=2'", "NAME=VALUE"]),
        ("rent --name Not/good", ["'Not/good'", "a-z"]),
        ("rent --cloud locl", ["'locl'", "did you mean local"]),
        ("offers 'gpu = and'", ["gpu"]),
        ("ps 'unclosed", ["closing quot"]),
    ],
)
def test_bad_lines_in_both_doors(gpunb: Gpunb, line: str, words_expected: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        invoke(line, frontend="notebook")
    for word in words_expected:
        assert word in str(caught.value)
    assert "gpunb " not in (caught.value.hint or "").replace("gpunb.toml", "")
    if "unclosed" in line:
        return
    shown = gpunb(*shlex.split(line))
    assert shown.code == 2
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    for word in words_expected:
        assert word in shown.err


def test_close_script_names(gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    shown = gpunb("run", "trian.py")
    assert shown.code == 2
    assert "did you mean train.py" in shown.err
    shown = gpunb("run", "nowhere/train.py")
    assert "no folder 'nowhere'" in shown.err


def test_session_that_is_not_there(gpunb: Gpunb) -> None:
    with pytest.raises(SessionNotFound, match="'nope'") as caught:
        invoke("show nope", frontend="notebook")
    assert "%gpu rent" in (caught.value.hint or "")
    with pytest.raises(SessionNotFound) as old:
        invoke("show nope", door="terminal")  # the parameter's name in 0.1.0
    assert "gpunb rent" in (old.value.hint or "")
    shown = gpunb("show", "nope")
    assert shown.code == 1
    assert "next: gpunb rent starts one" in shown.err


@pytest.mark.parametrize(
    "args",
    [["ps"], ["ps", "--all"], ["runs"], ["config"], ["offers"], ["completion", "bash"], ["down", "--all"]],
)
def test_json_without_sessions(gpunb: Gpunb, args: list[str]) -> None:
    shown = gpunb(*args, "--json")
    assert shown.code == 0, shown.err
    assert shown.json is not None


def test_errors_in_json(gpunb: Gpunb) -> None:
    shown = gpunb("show", "nope", "--json")
    assert shown.code == 1
    assert shown.json["error"]["type"] == "SessionNotFound"
    assert shown.json["error"]["next"]


def test_bare_call_shows_the_sessions(gpunb: Gpunb) -> None:
    assert gpunb().out == gpunb("ps").out


def test_unexpected_failure_goes_to_the_log(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        msg = "boom with token=sesame-open"
        raise RuntimeError(msg)

    monkeypatch.setattr("gpunb.sessions.ledger.sessions.Ledger.sessions", broken)
    shown = gpunb("ps")
    assert shown.code == 70
    assert "error: unexpected RuntimeError: boom" in shown.err
    assert "Traceback" not in shown.err
    assert str(home / "log" / "gpunb.log") in shown.err
    written = (home / "log" / "gpunb.log").read_text()
    assert "Traceback" in written
    assert "sesame" not in written + shown.err


def test_words() -> None:
    assert words("run 'a b' -- \"c d\"") == ["run", "a b", "--", "c d"]
    assert words(["x y"]) == ["x y"]


def test_help_fits_one_screen_and_names_every_verb(gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = gpunb("-h").out
    assert len(shown.splitlines()) <= 40
    assert max(map(len, shown.splitlines())) <= 80
    assert {word for verb in VERBS for word in verb.split()} | {"sim"} <= set(shown.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_our_variable(gpunb: Gpunb, shell: str) -> None:
    shown = gpunb("completion", shell)
    assert "_GPUNB_COMPLETE" in shown.out
    if shell == "bash":
        assert (
            subprocess.run(["bash", "-n"], input=shown.out, text=True, timeout=20, check=False).returncode
            == 0
        )


def test_terminal_completion_of_verbs_and_options(home: Path) -> None:
    def complete(line: str) -> list[str]:
        parts = line.split(" ")
        done = subprocess.run(
            [sys.executable, "-c", "from gpunb.cli.main import main; main()"],
            env={
                **os.environ,
                "GPUNB_HOME": str(home),
                "_GPUNB_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(parts) - 1),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return [item.partition(",")[2] for item in done.stdout.splitlines()]

    found = set(complete("gpunb re"))
    assert {"rent", "rename", "restart"} <= found
    assert all(name.startswith("re") for name in found)
    assert "--budget" in complete("gpunb rent --b")
    assert complete("gpunb vast in") == ["increases"]
    assert complete("gpunb vast increases --acc") == complete("gpunb increases --acc") == ["--accept"]
    assert not {*RENAMED} & {*complete("gpunb ")}


BASH = """
compopt() {  # what readline does for it
    case $2 in
        default) COMPREPLY+=($(compgen -f -- "$word"));;
        dirnames) COMPREPLY+=($(compgen -d -- "$word"));;
    esac
}
complete() { :; }
source <(gpunb completion bash)
while read -r -a COMP_WORDS; do
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    word=${COMP_WORDS[COMP_CWORD]}
    _gpunb_completion gpunb "$word"
    echo "${COMPREPLY[*]}"
done
"""


def test_bash_completes_files_and_values(home: Path, tmp_path: Path) -> None:
    """The script that we print, in bash itself: files, sessions, and values behind commas."""
    for name in ("src", "train-data"):
        (tmp_path / name).mkdir()
    (tmp_path / "train.py").touch()
    (tmp_path / ".bin").mkdir()
    program = tmp_path / ".bin/gpunb"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gpunb "$@"\n')
    program.chmod(0o755)
    with Ledger.open() as ledger:
        ready(ledger, name="trainer")
    wanted = {
        "gpunb run tr": {"train.py", "train-data"},
        "gpunb sync s": {"src"},
        "gpunb run --sync tr": {"train-data"},
        "gpunb stop tr": {"trainer"},
        "gpunb rent --gpu rtx409": {"rtx4090", "rtx4090d"},
        "gpunb rent --gpu L4,H20": {"L4,H20", "L4,H200", "L4,H200SXM", "L4,H200NVL"},
        "gpunb offers --type b": {"bare-metal"},
        "gpunb offers --region EU,N": {"EU,NA", "EU,NL", "EU,NO", "EU,NZ"},
        "gpunb volumes --cloud v": {"vast"},
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH],
        input="\n".join([*wanted, ""]),
        env={**os.environ, "GPUNB_HOME": str(home), "PATH": f"{program.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = [set(line.split()) for line in done.stdout.splitlines()]
    assert dict(zip(wanted, found, strict=True)) == wanted, done.stderr


def test_the_grammar_is_click() -> None:
    from gpunb.cli.main import cli

    assert isinstance(cli, click.Group)
    own = [verb for verb in VERBS if " " not in verb]
    assert cli.list_commands(click.Context(cli))[: len(own) + len(CLOUDS)] == [*own, *CLOUDS]
