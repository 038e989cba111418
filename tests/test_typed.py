"""Hints: texts with commands in them, which each frontend writes in its own way."""

from __future__ import annotations

import copy
import pickle

import pytest

from gpunb.cli.main import invoke
from gpunb.errors import BadInput, GpunbError, SessionNotFound
from gpunb.hints import Command, Hint, typed, written
from gpunb.presentation.result import Fields, Note, Table


def test_a_hint_is_written_for_its_frontend() -> None:
    hint = typed("show", "fit") + " tells more; " + typed("down", "fit") + " ends it"
    assert hint == "gpunb show fit tells more; gpunb down fit ends it"
    assert hint.at("notebook") == "%gpu show fit tells more; %gpu down fit ends it"
    assert hint.commands == [Command("show", ("fit",)), Command("down", ("fit",))]


def test_a_text_before_it_leaves_it_a_hint() -> None:
    hint = "once: " + typed("login CLOUD --stdin")
    assert isinstance(hint, Hint)
    assert hint.commands == [Command("login", ("CLOUD", "--stdin"))]
    assert written(hint, "notebook") == "once: %gpu login CLOUD --stdin"
    assert written("once", "notebook") == "once"


def test_words_are_quoted_as_a_shell_needs_it() -> None:
    assert typed("sync", "my data", "fit:~/x") == "gpunb sync 'my data' 'fit:~/x'"


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_knows_its_commands(made: object) -> None:
    hint = "see " + typed("ps")
    assert made(hint).at("notebook") == "see %gpu ps"  # type: ignore[operator]


def test_a_stranger_s_word_in_a_command_is_cleaned() -> None:
    err = GpunbError("no", hint=typed("show", "fit\x1b[31m\u202e"))
    assert "\x1b" not in str(err)
    assert "\u202e" not in str(err)
    assert isinstance(err.hint, Hint)
    assert err.lines("notebook")[-1].startswith("next: %gpu show ")


def test_what_a_notebook_shows_is_typed_there(home: object) -> None:
    with pytest.raises(SessionNotFound) as caught:
        invoke("show nosuch")
    assert caught.value.hint == "%gpu rent starts one"
    with pytest.raises(SessionNotFound) as caught:
        invoke("show nosuch", frontend="terminal")
    assert caught.value.hint == "gpunb rent starts one"


def test_an_error_outside_of_a_verb_shows_a_notebook_s_line() -> None:
    shown = BadInput("no", hint=typed("ps") + " shows the sessions")._render_traceback_()
    assert shown[-1] == "  next: %gpu ps shows the sessions"


def test_blocks_are_written_for_their_frontend() -> None:
    hint = typed("ps") + " shows the sessions"
    for block in (Note(hint), Fields([("next", hint)]), Table(["next"], [[hint]])):
        assert "%gpu ps shows the sessions" in block.html()
        assert "gpunb ps" not in block.html()
