"""Confirmation tokens: for one user, one action, its arguments; used once, for a short while."""

from __future__ import annotations

from gpunb.services.confirmations import LIFE_S, MOST, Tokens

__all__ = ["LIFE_S", "MOST", "Tokens"]
