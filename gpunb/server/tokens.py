"""Confirmation tokens: for one user, one action and its arguments; single-use, short-lived."""

from __future__ import annotations

from gpunb.services.confirmations import LIFE_S, MOST, Tokens

__all__ = ["LIFE_S", "MOST", "Tokens"]
