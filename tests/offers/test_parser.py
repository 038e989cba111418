from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.errors import BadInput
from gpunb.offers.language.fields import FIELDS
from gpunb.offers.language.lexer import KEYWORDS, LONGEST_QUERY
from gpunb.offers.language.parser import DEEPEST, MOST_COMPARISONS, MOST_VALUES, parse
from gpunb.offers.language.tree import All, Any_, Compare, Not


def one(text: str) -> Compare:
    found = parse(text).where
    assert isinstance(found, Compare)
    return found


def refusal(text: str) -> str:
    """What is said of a text that is no query, or ""."""
    try:
        parse(text)
    except BadInput as err:
        return err.message
    return ""


def test_the_query_of_the_docs():
    found = parse("gpu_name in (H100,H200) and vram>=80 and reliability>0.98 order by total/gpu limit 20")
    assert isinstance(found.where, All)
    gpu, vram, reliability = found.where.parts
    assert [value.text for value in gpu.values] == ["H100", "H200"]
    assert (vram.field.name, vram.op, vram.values) == ("vram", ">=", (80.0,))
    assert (reliability.op, reliability.values) == (">", (0.98,))
    (key,) = found.order
    assert (key.field.name, key.over.name, key.descending) == ("total", "gpus", False)
    assert found.limit == 20


@pytest.mark.parametrize(
    ("text", "field", "op", "values", "negated"),
    [
        ("price <= $3", "price", "<=", (3.0,), False),
        ("disk>=2TB", "disk", ">=", (2000.0,), False),
        ("inet_down >= 1Gbps", "inet_down", ">=", (1000.0,), False),
        ("reliability2>98%", "reliability", ">", (0.98,), False),
        ("num_gpus=2..4", "gpus", "..", (2.0, 4.0), False),
        ("gpus in 2..4", "gpus", "..", (2.0, 4.0), False),
        ("gpus not in (1, 2)", "gpus", "in", (1.0, 2.0), True),
        ("dph_total<.5", "price", "<", (0.5,), False),
        ("verified", "verified", "=", (True,), False),
        ("verified = no", "verified", "=", (False,), False),
        ("type = baremetal", "kind", "=", ("bare-metal",), False),
        ("rental != bid", "rental", "=", ("spot",), True),
        ("region = North America", "region", "=", ("North America",), False),
        ("cpu ~ 'EPYC 7B13'", "cpu", "~", ("EPYC 7B13",), False),
        ("geolocation in (SE, 'United States')", "region", "in", ("SE", "United States"), False),
        ("region == dulles-usa-1", "region", "=", ("dulles-usa-1",), False),
        ("cuda_vers >= 12.4", "cuda", ">=", (12.4,), False),
        ("GPU-COUNT > 1", "gpus", ">", (1.0,), False),
    ],
)
def test_comparisons(text, field, op, values, negated):
    found = one(text)
    assert (found.field.name, found.op, found.values, found.negated) == (field, op, values, negated)
    assert found.text == text


@pytest.mark.parametrize(
    "text", ["gpu = RTX 4090", "gpu = 4090", "gpu='RTX 4090'", 'gpu_name="rtx_4090"', "gpu==RTX_4090"]
)
def test_a_gpu_needs_no_quotes(text):
    assert one(text).values[0].text == "RTX 4090"


def test_and_binds_closer_than_or_and_not_closest():
    found = parse("not verified and vram>24 or gpus=8").where
    assert isinstance(found, Any_)
    left, right = found.parts
    assert isinstance(left, All)
    assert isinstance(left.parts[0], Not)
    assert isinstance(right, Compare)
    assert isinstance(parse("! verified && (vram>24 || gpus=8)").where, All)


def test_an_order_alone_or_nothing():
    assert parse("").where is None
    assert parse("  \n ").order == ()
    assert [key.descending for key in parse("order by vram desc, price asc, gpu").order] == [
        True,
        False,
        False,
    ]
    assert parse("ORDER BY total LIMIT 5").limit == 5


# query, what is said, the text over the caret, the hint
ERRORS = [
    ("gpu = RTX 4090 and vrm>=80", "there is no field 'vrm'", "vrm", "did you mean vram?"),
    ("vram >= 80Gbps", "has the unit 'Gbps'", "80Gbps", None),
    ("gpu = H100 SXM vram>80", "'and' or 'or' is missing before 'vram'", "vram", None),
    ("verified verified", "'and' or 'or' is missing", "verified", None),
    ("(gpu=H100", "this bracket is not closed", "(", None),
    ("gpu in (H100", "this bracket is not closed", "(", None),
    ("gpu=H100)", "this bracket was never opened", ")", None),
    ("gpus=4..2", "ends before it begins", "4..2", None),
    ("reliability>98", "reliability is 0 to 1, not 98", "98", "did you mean 0.98 or 98%?"),
    ("price < -1", "price is at least 0, not -1", "-1", None),
    ("kind = vmm", "kind is bare-metal, container or vm, not 'vmm'", "vmm", "did you mean vm?"),
    ("price<", "a value for price is expected here, not the end", "", None),
    ("price 3", "a comparison", "3", None),
    ("order by total/region", "region is no number to divide by", "region", None),
    ("order by region/gpu", "region is no number and can't be divided", "region", None),
    ("order total", "'by' after 'order' is expected here", "total", None),
    ("vram>=80; rm -rf", "the character ';' has no meaning here", ";", None),
    ("gpu='H100", "this quote is not closed", "'H100", None),
    ("limit 0", "a limit is 1 to", "0", None),
    ("limit 2.5", "a whole number", "2.5", None),
    ("verified = maybe", "verified is true or false", "maybe", None),
    ("gpu > 3", "gpu can't be compared by '>'", ">", None),
    ("gpus = 2-4", "is not a number", "2-4", "a range is written 2..4"),
    ("gpus ~ 2", "gpus can't be compared by '~'", "~", None),
    ("gpu in H100", "'in' takes a list in brackets", "H100", "gpu in (a, b)"),
    ("vram = 1e999", "too large", "1e999", None),
    ("and", "a field is expected here", "and", None),
    ("gpu = ''", "1 to 200 characters", "''", None),
    ("漢字 = 2", "there is no field", "漢字", None),
    ("gpu=H100 and \x1b[31m", "the character U+001B has no meaning here", "\x1b", None),
]


@pytest.mark.parametrize(("text", "said", "marked", "hint"), ERRORS)
def test_errors_point_at_the_character(text, said, marked, hint):
    with pytest.raises(BadInput) as caught:
        parse(text)
    what, line, caret = caught.value.message.split("\n")
    assert said in what
    assert what.startswith("query: ")
    assert line.isprintable()
    if text.isascii():  # elsewhere columns are not characters
        at = caret.index("^")
        assert (
            line[at : at + caret.count("^")].strip()
            == "".join(c if c.isprintable() else "�" for c in marked).strip()
        )
    if hint:
        assert caught.value.hint == hint
    assert caught.value.exit_code == 2


def test_wide_characters_move_the_caret():
    with pytest.raises(BadInput) as caught:
        parse("cpu = 漢字 and vrm > 1")
    _, line, caret = caught.value.message.split("\n")
    assert caret.index("^") == line.index("vrm") + 2  # two columns more than characters


def test_a_long_query_is_shown_in_part():
    with pytest.raises(BadInput) as caught:
        parse("gpus=1 and " * 100 + "vrm>1 and " + "gpus=1 and " * 50 + "gpus=1")
    _, line, caret = caught.value.message.split("\n")
    assert len(line) < 140
    at = caret.index("^")
    assert line[at : at + 3] == "vrm"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 2000, f"more than {DEEPEST} deep"),
        ("not " * 900 + "verified", f"more than {DEEPEST} deep"),
        ("(" * 41 + "verified" + ")" * 41, f"more than {DEEPEST} deep"),
        ("verified and " * 250 + "verified", f"{MOST_COMPARISONS} comparisons"),
        ("gpus in (" + "1," * 400 + "1)", f"{MOST_VALUES} values"),
        ("x" * (LONGEST_QUERY + 1), f"a query may have {LONGEST_QUERY}"),
        ("(" * 1_000_000, f"a query may have {LONGEST_QUERY}"),
        ("order by " + "gpus," * 20 + "gpus", "keys"),
    ],
)
def test_hostile_queries_are_bounded(text, said):
    with pytest.raises(BadInput, match=said) as caught:
        parse(text)
    assert len(str(caught.value)) < 500


def test_the_deepest_is_taken():
    assert parse("(" * 39 + "verified" + ")" * 39).where is not None


WORDS = [
    *FIELDS,
    *KEYWORDS,
    "=",
    "!=",
    "<",
    ">=",
    "~",
    "..",
    "(",
    ")",
    ",",
    "/",
    "80GB",
    "$3",
    "H100",
    "'a b'",
    "-1",
    "x",
]


@given(st.text(max_size=120) | st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_query_or_bad_input(text):
    said = refusal(text)
    if said:
        assert said.startswith("query: ")
        return
    found = parse(text)
    if found.where is not None:
        again = parse(found.where.text).where
        assert again is not None
        assert again.text == found.where.text


@pytest.mark.timeout(30)
def test_a_fuzz_of_damaged_queries():
    luck = random.Random(5)
    seed = (
        "gpu_name in (H100, 'RTX 4090') and (vram >= 80GB or not verified) order by total/gpu desc limit 20"
    )
    for _ in range(3000):
        text = list(seed)
        for _ in range(luck.randint(1, 8)):
            at = luck.randrange(len(text))
            text[at : at + luck.randint(0, 5)] = luck.choices(
                "()'\"=<>.,/~!- 0aZé\x00漢", k=luck.randint(0, 4)
            )
            text = text or [" "]
        said = refusal("".join(text))
        assert said == "" or said.count("\n") == 2
