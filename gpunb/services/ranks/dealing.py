"""How a value is dealt out to the ranks of a group (``--scatter``)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from gpunb.errors import BadInput

__all__ = ["deal"]


def deal(name: str, value: Any, count: int) -> list[Any]:
    """Cut `value` into `count` parts, in its order, as equal as possible: the first ones get one item more.

    Lists, tuples and ranges are cut into the same; arrays and tensors along their first axis; tables by rows.

    >>> deal("x", [1, 2, 3, 4, 5], 3)
    [[1, 2], [3, 4], [5]]

    Raises
    ------
    BadInput
        It has no order that it could be cut by: a text, a dict, a set, a number.
    """
    rows = getattr(value, "iloc", value)  # a table of pandas
    shape = getattr(value, "shape", None)
    sizes = shape if isinstance(shape, tuple) else None
    if isinstance(value, (list, tuple, range)):
        length = len(value)
    elif sizes and hasattr(type(rows), "__getitem__"):
        length = int(sizes[0])
    else:
        msg = f"--scatter {name}: a {type(value).__name__} can't be dealt out"
        raise BadInput(msg, hint="a list, a tuple, a range, an array or a table can; -i sends a value to all")
    least, more = divmod(length, count)
    ends = [rank * least + min(rank, more) for rank in range(count + 1)]
    return [_plain(rows[first:last]) for first, last in pairwise(ends)]


def _plain(part: Any) -> Any:
    return tuple(part) if isinstance(part, tuple) else part  # a named tuple's part is none
