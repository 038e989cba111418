"""Folding of several ranks' output: nothing is lost, ranks keep their order, none passes for another."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunb.output.folding import LONGEST, MOST_HELD, Fold, Lines, ranks_text

RANKS = range(4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(RANKS), st.sampled_from("abc")),
        st.tuples(st.just("end"), st.sampled_from(RANKS), st.just("")),
        st.tuples(st.just("wait"), st.integers(0, 5), st.just("")),
    ),
    max_size=60,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(fold: Fold, **how) -> list[tuple[str, str]]:
    return [(ranks_text(piece.ranks), piece.items[0]) for piece in fold.take(**how)]


@given(STEPS)
def test_nothing_is_lost_and_each_rank_keeps_its_order(steps):
    clock = Clock()
    fold = Fold(RANKS, hold=1.0, clock=clock)
    said, seen, over = defaultdict(list), defaultdict(list), set()

    def look(**how) -> None:
        for piece in fold.take(**how):
            assert list(piece.ranks) == sorted(set(piece.ranks))
            assert len(set(piece.items)) == 1
            for rank, item in zip(piece.ranks, piece.items, strict=True):
                seen[rank].append(item)

    for what, number, text in steps:
        if what == "put" and number not in over:
            said[number].append(text)
            fold.put(number, text, text)
        elif what == "end":
            over.add(number)
            fold.end(number)
        elif what == "wait":
            clock.now += number / 2
        look()
        held = sum(map(len, said.values())) - sum(map(len, seen.values()))
        assert (fold.due is None) == (held == 0)
    clock.now += 1.0
    look()  # whatever waits is shown when its time is over, whoever is silent
    assert seen == said
    look(everything=True)
    assert seen == said


@given(st.lists(st.text("ab\n", max_size=8), max_size=20), st.permutations(RANKS))
def test_what_all_ranks_say_is_shown_once(pieces, order):
    fold, lines = Fold(RANKS, hold=1.0, clock=Clock()), {rank: Lines(Clock()) for rank in RANKS}
    seen = []
    for text in pieces:
        for rank in order:
            for line in lines[rank].feed(text):
                fold.put(rank, line, line)
        seen += shown(fold)
    for rank in RANKS:
        for line in lines[rank].finish():
            fold.put(rank, line, line)
    seen += shown(fold)
    assert seen == [("0-3", line) for line in "".join(pieces).split("\n")[:-1]] + [
        ("0-3", line) for line in ["".join(pieces).split("\n")[-1]] if line
    ]


def test_one_that_differs_does_not_stop_the_folding_of_the_rest(clock):
    fold = Fold(RANKS, clock=clock)
    for rank in RANKS:
        for line in ["begin", *(["a word of mine"] if rank == 2 else []), "end"]:
            fold.put(rank, line, line)
    assert shown(fold) == [("0-3", "begin"), ("2", "a word of mine"), ("0-3", "end")]


def test_a_silent_rank_holds_nobody_back_for_long(clock):
    fold = Fold(RANKS, hold=0.3, clock=clock)
    for rank in (0, 1, 3):
        fold.put(rank, "epoch 1", "epoch 1")
    assert shown(fold) == []
    assert fold.due == pytest.approx(0.3)
    clock.now = 0.31
    assert shown(fold) == [("0-1,3", "epoch 1")]
    fold.put(2, "epoch 1", "epoch 1")
    fold.put(0, "epoch 2", "epoch 2")
    clock.now = 0.7
    assert shown(fold) == [("0", "epoch 2"), ("2", "epoch 1")]


def test_a_flood_of_one_rank_is_not_kept(clock):
    fold = Fold(RANKS, hold=1e9, clock=clock)
    for number in range(MOST_HELD + 10):
        fold.put(1, number, number)
    assert [item for _, item in shown(fold)] == list(range(11))


@given(
    st.lists(
        st.one_of(
            st.text(max_size=30), st.sampled_from(["\x1b[31m", "\x1b[2J", "\x1b[5A", "\x1b[1;1H", "\n"])
        )
    )
)
def test_no_line_leaves_its_place(pieces):
    lines = Lines(Clock())
    made = [line for text in pieces for line in lines.feed(text)] + lines.finish()
    for line in made:
        plain = re.sub("\x1b\\[[0-9;:]*m", "", line)
        assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]", plain)
        assert "\x1b" not in line or line.endswith("\x1b[0m")


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"], include_characters="\n\t")),
    st.data(),
)
def test_plain_text_arrives_whole_however_it_is_cut(text, data):
    lines, made, left = Lines(Clock()), [], text
    while left:
        size = data.draw(st.integers(1, len(left)))
        made += lines.feed(left[:size])
        left = left[size:]
    made += lines.finish()
    assert "\n".join(made).rstrip("\n") == text.rstrip("\n")


def test_a_progress_bar_is_shown_now_and_then_and_its_end_always(clock):
    lines, made = Lines(clock), []
    for percent in range(101):
        clock.now += 0.25
        made += lines.feed(f"\r{percent}%")
        made += lines.unfinished()
    made += lines.feed("\n")
    assert made[-1] == "100%"
    assert 2 <= len(made) <= 5


def test_the_beginning_of_a_line_is_not_held_until_its_end(clock):
    lines = Lines(clock)
    assert lines.feed("loading ") == []
    assert lines.unfinished() == []
    clock.now = 1.5
    assert lines.unfinished() == ["loading "]
    assert lines.feed("done\n") == ["done"]
    assert lines.feed("more") == []
    clock.now = 3.0
    assert lines.unfinished() == ["more"]
    assert lines.feed("\nnext\n") == ["next"]


def test_a_colour_goes_on_in_the_next_line_and_ends_with_each(clock):
    lines = Lines(clock)
    assert lines.feed("\x1b[31mone\ntwo\x1b[0m\nthree\n") == [
        "\x1b[31mone\x1b[0m",
        "\x1b[31mtwo\x1b[0m\x1b[0m",
        "three",
    ]


def test_a_line_without_an_end_is_cut_and_kept(clock):
    lines = Lines(clock)
    made = lines.feed("x" * (2 * LONGEST + 5)) + lines.finish()
    assert [len(line) for line in made] == [LONGEST, LONGEST, 5]


def test_ranks_are_written_as_ranges():
    assert [ranks_text(one) for one in ([0], [0, 1, 2], [0, 2, 3], [5, 1], [])] == [
        "0",
        "0-2",
        "0,2-3",
        "1,5",
        "",
    ]
