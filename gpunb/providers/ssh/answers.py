"""What a script on a machine answered, told from what its login shell printed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from gpunb.text import one_line

__all__ = ["Answer", "last_line", "read"]


@dataclass(slots=True)
class Answer:
    """What a script on the machine answered: its words by their first, in order."""

    begun: bool = False
    done: bool = False
    failed: tuple[str, str] | None = None
    said: str = ""
    words: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Every answer that begins with `word`, without it."""
        return [rest for first, rest in self.words if first == word]

    def one(self, word: str) -> str:
        """The first answer that begins with `word`; "" if there is none."""
        return next(iter(self.all(word)), "")

    def number(self, word: str) -> float:
        """The same as a number; 0 if it is none."""
        try:
            return max(0.0, float(self.one(word)))
        except ValueError:
            return 0.0


def read(out: bytes, nonce: str) -> Answer:
    """Read a script's answers; everything else is what the login shell printed."""
    answer, start = Answer(), f"{nonce} "
    for line in out.decode("utf-8", "replace").splitlines():
        if not line.startswith(start):
            continue
        word, _, rest = line[len(start) :].strip().partition(" ")
        rest = one_line(rest, 4000)
        if word == "begin":
            answer.begun = True
        elif word == "done":
            answer.done = True
        elif word == "failed":
            step, _, text = rest.partition(" ")
            answer.failed = (step, text)
        else:
            answer.words.append((word, rest))
    return answer


def last_line(text: bytes) -> str:
    """The last line that says something."""
    logging.getLogger(__name__).debug("ssh said: %s", text[-2000:])
    lines = text.decode("utf-8", "replace").splitlines()
    return one_line(next((line for line in reversed(lines) if line.strip()), "it said nothing"), 400)
