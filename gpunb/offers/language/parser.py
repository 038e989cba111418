"""Parser of the query language: recursive descent with a bounded depth.

::

    query      = [ any ] [ "order" "by" key { "," key } ] [ "limit" number ]
    any        = all { "or" all }
    all        = one { "and" one }
    one        = "not" one | "(" any ")" | comparison
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" ) value
               | field ( "=" | "!=" | [ "not" ] "in" ) number ".." number
               | field [ "not" ] "in" "(" value { "," value } ")"
               | field                                   (verified, datacenter, …)
    key        = field [ "/" field ] [ "asc" | "desc" ]

Words of a text value need no quotes as long as none of them is a keyword:
``gpu = RTX 4090 and vram >= 24GB``.
"""

from __future__ import annotations

from gpunb.errors import BadInput
from gpunb.offers.gpus import wanted
from gpunb.offers.language.fields import FIELDS, Field, find, suggest
from gpunb.offers.language.lexer import Token, fault, tokens
from gpunb.offers.language.tree import All, Any_, Compare, Key, Node, Not, Parsed, Value
from gpunb.offers.language.units import parse_quantity

__all__ = ["DEEPEST", "MOST_COMPARISONS", "MOST_VALUES", "parse"]

DEEPEST = 40
MOST_COMPARISONS = 200
MOST_VALUES = 200
MOST_KEYS = 8
MOST_ROWS = 100_000

_SAME = {"==": "=", "<>": "!=", "&&": "and", "||": "or", "!": "not"}
_COMPARING = frozenset(("=", "!=", "<", "<=", ">", ">=", "~"))
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ALLOWED = {
    "number": frozenset(("=", "!=", "<", "<=", ">", ">=", "in")),
    "bool": frozenset(("=", "!=")),
    "choice": frozenset(("=", "!=", "in")),
}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0
        self.comparisons = 0

    # --- tokens

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def after(self, steps: int = 1) -> Token:
        return self.tokens[min(self.at + steps, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.now
        if token.kind != "end":
            self.at += 1
        return token

    def sign(self, token: Token | None = None) -> str:
        """Return the operator or keyword that a token is, in its canonical spelling, or ""."""
        found = token or self.now
        if found.kind == "op":
            return _SAME.get(found.text, found.text)
        return found.keyword()

    def skip(self, sign: str) -> bool:
        if self.sign() == sign:
            self.at += 1
            return True
        return False

    def expected(self, what: str, *, hint: str | None = None) -> BadInput:
        token = self.now
        found = "the end" if token.kind == "end" else repr(token.text[:40])
        return fault(self.text, token.start, token.end, f"{what} is expected here, not {found}", hint=hint)

    def piece(self, start: int) -> str:
        return self.text[start : self.tokens[self.at - 1].end]

    # --- grammar

    def query(self) -> Parsed:
        where = None
        if self.now.kind != "end" and self.sign() not in {"order", "limit"}:
            where = self.any()
        order = self.order() if self.sign() == "order" else ()
        limit = self.limit() if self.sign() == "limit" else None
        if self.now.kind != "end":
            self.refuse_rest()
        return Parsed(where, order, limit)

    def refuse_rest(self) -> None:
        token = self.now
        if self.sign() == ")":
            raise fault(self.text, token.start, token.end, "this bracket was never opened")
        if token.kind == "word" and (self.sign(self.after()) in _COMPARING or find(token.text)):
            what = f"'and' or 'or' is missing before {token.text[:40]!r}"
            raise fault(self.text, token.start, token.end, what)
        hint = "put a name of several words in quotes" if token.kind in {"word", "number"} else None
        msg = "'and', 'or', 'order by', 'limit' or the end"
        raise self.expected(msg, hint=hint)

    def any(self) -> Node:
        start = self.now.start
        parts = [self.all()]
        while self.skip("or"):
            parts.append(self.all())
        return parts[0] if len(parts) == 1 else Any_(tuple(parts), self.piece(start))

    def all(self) -> Node:
        start = self.now.start
        parts = [self.one()]
        while self.skip("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else All(tuple(parts), self.piece(start))

    def one(self) -> Node:
        token = self.now
        self.depth += 1
        if self.depth > DEEPEST:
            what = f"brackets and 'not' are nested more than {DEEPEST} deep"
            raise fault(self.text, token.start, token.end, what)
        try:
            if self.skip("not"):
                part = self.one()
                return Not(part, self.piece(token.start))
            if self.skip("("):
                inner = self.any()
                if not self.skip(")"):
                    if self.now.kind != "end":
                        self.refuse_rest()
                    raise fault(self.text, token.start, token.end, "this bracket is not closed")
                return inner
            return self.comparison()
        finally:
            self.depth -= 1

    def field(self) -> tuple[Field, Token]:
        token = self.now
        if token.kind != "word" or token.keyword():
            msg = "a field"
            raise self.expected(msg, hint=f"fields are {', '.join(list(FIELDS)[:12])}, …")
        found = find(token.text)
        if found is None:
            near = suggest(token.text)
            hint = f"did you mean {near}?" if near else f"fields are {', '.join(list(FIELDS)[:12])}, …"
            raise fault(
                self.text, token.start, token.end, f"there is no field {token.text[:40]!r}", hint=hint
            )
        self.take()
        return found, token

    def comparison(self) -> Node:
        self.comparisons += 1
        if self.comparisons > MOST_COMPARISONS:
            what = f"a query may have {MOST_COMPARISONS} comparisons"
            raise fault(self.text, self.now.start, self.now.end, what)
        field, name = self.field()
        sign = self.now
        negated = self.sign() == "not" and self.sign(self.after()) == "in"
        if negated:
            self.take()
        op = self.sign()
        if op not in _COMPARING and op != "in":
            if field.kind == "bool" and not negated:
                return Compare(field, "=", (True,), False, name.text)
            what = f"a comparison (= != < <= > >= ~ in) after {name.text!r}"
            raise self.expected(what, hint=f"{field.name}: {field.doc}")
        allowed = _ALLOWED.get(field.kind, frozenset(("=", "!=", "~", "in")))
        if op not in allowed:
            what = f"{field.name} can't be compared by {op!r}; it takes {' '.join(sorted(allowed))}"
            raise fault(self.text, sign.start, sign.end, what)
        self.take()
        if op == "!=":
            op, negated = "=", True
        if op == "in" and self.sign() == "(":
            values = self.listed(field)
        else:
            values, op = self.single(field, op)
        return Compare(field, op, values, negated, self.piece(name.start))

    def listed(self, field: Field) -> tuple[Value, ...]:
        opening = self.take()
        values = [self.value(field)]
        while self.skip(","):
            if len(values) >= MOST_VALUES:
                raise fault(self.text, self.now.start, self.now.end, f"a list may have {MOST_VALUES} values")
            values.append(self.value(field))
        if not self.skip(")"):
            if self.now.kind == "end":
                raise fault(self.text, opening.start, opening.end, "this bracket is not closed")
            msg = "',' or ')'"
            raise self.expected(msg)
        return tuple(values)

    def single(self, field: Field, op: str) -> tuple[tuple[Value, ...], str]:
        first = self.now
        low = self.value(field)
        if op in {"=", "in"} and self.sign() == "..":
            if field.kind != "number":
                raise fault(self.text, self.now.start, self.now.end, f"{field.name} has no ranges")
            self.take()
            high = self.value(field)
            if low > high:  # type: ignore[operator]  # numbers, as the field's kind says
                last = self.tokens[self.at - 1]
                raise fault(self.text, first.start, last.end, "this range ends before it begins")
            return (low, high), ".."
        if op == "in":
            raise fault(
                self.text,
                first.start,
                first.end,
                "'in' takes a list in brackets",
                hint=f"{field.name} in (a, b)",
            )
        return (low,), op

    def value(self, field: Field) -> Value:
        token = self.now
        if token.kind not in {"word", "number", "string"} or token.keyword():
            msg = f"a value for {field.name}"
            raise self.expected(msg)
        self.take()
        text = token.text[1:-1] if token.kind == "string" else token.text
        if field.kind == "number":
            return self.number(field, token, text)
        end = token.end
        if token.kind != "string":
            while (
                self.now.kind in {"word", "number"}
                and not self.now.keyword()
                and not self.starts_comparison()
            ):
                end = self.take().end
            text = self.text[token.start : end]
        return self.word(field, text, token.start, end)

    def starts_comparison(self) -> bool:
        if self.now.kind != "word":
            return False
        following = self.sign(self.after())
        return following in _COMPARING or following == "in"

    def number(self, field: Field, token: Token, text: str) -> float:
        try:
            value = parse_quantity(text, field.dimension, name=field.name)
        except BadInput as err:
            hint = "a range is written 2..4" if "-" in text[1:] else err.hint
            raise fault(self.text, token.start, token.end, err.message, hint=hint) from None
        if not field.low <= value <= field.high:
            limits = (
                f"at least {field.low:g}"
                if field.high == float("inf")
                else f"{field.low:g} to {field.high:g}"
            )
            hint = (
                f"did you mean {value / 100:g} or {value:g}%?"
                if 1 < value <= 100 and field.high == 1
                else None
            )
            what = f"{field.name} is {limits}, not {value:g}"
            raise fault(self.text, token.start, token.end, what, hint=hint)
        return value

    def word(self, field: Field, text: str, start: int, end: int) -> Value:
        text = text.strip()
        if not text or len(text) > 200:
            raise fault(self.text, start, end, f"a value for {field.name} has 1 to 200 characters")
        if field.kind == "bool":
            if text.lower() not in _YES:
                raise fault(self.text, start, end, f"{field.name} is true or false, not {text[:40]!r}")
            return _YES[text.lower()]
        if field.choices is not None:
            result = field.choices.get(text.lower())
            if result is None:
                names = sorted(set(field.choices.values()))
                near = suggest(text, field.choices)
                hint = f"did you mean {near}?" if near else None
                what = f"{field.name} is {', '.join(names[:-1])} or {names[-1]}, not {text[:40]!r}"
                raise fault(self.text, start, end, what, hint=hint)
            return result
        if field.kind == "gpu":
            return wanted(text)
        return text

    def order(self) -> tuple[Key, ...]:
        self.take()
        if not self.skip("by"):
            msg = "'by' after 'order'"
            raise self.expected(msg)
        keys = [self.key()]
        while self.skip(","):
            if len(keys) >= MOST_KEYS:
                raise fault(self.text, self.now.start, self.now.end, f"an order may have {MOST_KEYS} keys")
            keys.append(self.key())
        return tuple(keys)

    def key(self) -> Key:
        field, name = self.field()
        over = None
        if self.skip("/"):
            if field.kind != "number":
                raise fault(
                    self.text, name.start, name.end, f"{field.name} is no number and can't be divided"
                )
            over, token = self.field()
            if over.name == "gpu":
                over = FIELDS["gpus"]  # "for each GPU"
            if over.kind != "number":
                raise fault(self.text, token.start, token.end, f"{over.name} is no number to divide by")
        descending = self.sign() == "desc"
        if self.sign() in {"asc", "desc"}:
            self.take()
        return Key(field, over, descending, self.piece(name.start))

    def limit(self) -> int:
        self.take()
        token = self.now
        if token.kind != "number" or not token.text.isascii() or not token.text.isdigit():
            msg = "a whole number after 'limit'"
            raise self.expected(msg)
        self.take()
        digits = token.text.lstrip("0")
        if not digits or len(digits) > 6 or int(digits) > MOST_ROWS:
            raise fault(self.text, token.start, token.end, f"a limit is 1 to {MOST_ROWS}")
        return int(digits)


def parse(text: str) -> Parsed:
    """Parse the query `text`.

    Raises
    ------
    BadInput
        It breaks the grammar, names an unknown field, compares a field in a way or with a value that it does
        not have, or is longer or deeper than a query may be. The message points at the character.
    """
    return _Parser(text).query()
