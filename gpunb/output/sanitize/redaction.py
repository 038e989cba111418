"""Redaction of a run's secrets in the text that its host sends back.

Terminal codes and hidden marks are `gpunb.text`'s.
"""

from __future__ import annotations

from gpunb.text import Escapes, one_line

__all__ = ["Escapes", "SecretRedactor", "one_line"]


class SecretRedactor:
    """Removes secrets from one stream of text, also where a piece ends within one.

    Parameters
    ----------
    values
        The secrets.
    """

    def __init__(self, values: list[str]) -> None:
        self.values = sorted((value for value in values if value), key=len, reverse=True)
        self._held = ""

    def feed(self, text: str) -> str:
        """Replace each secret by ``****``; a possible beginning of one is held back."""
        if not self.values:
            return text
        text = self.whole(self._held + text)
        keep = max((_overlap(text, value) for value in self.values), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def whole(self, text: str) -> str:
        """Replace each secret in `text` by ``****``."""
        for value in self.values:
            text = text.replace(value, "****")
        return text

    def finish(self) -> str:
        """Return the text held back, which turned out to be no secret."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, value: str) -> int:
    """The length of the longest end of `text` that `value` begins with."""
    for size in range(min(len(text), len(value) - 1), 0, -1):
        if text.endswith(value[:size]):
            return size
    return 0
