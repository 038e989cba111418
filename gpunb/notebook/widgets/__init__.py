"""The widgets of notebooks: the offer picker and the session panel.

They need no Jupyter server: the kernel does the work. Users call `pick` and `panel` (``gpunb.pick()``);
the verbs ``rent`` and ``panel`` call `open_for`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.notebook.widgets.panel import SessionPanel
    from gpunb.notebook.widgets.picker import OfferPicker
    from gpunb.presentation.result import Opening

__all__ = ["open_for", "panel", "pick"]


def pick(
    query: str = "", *, hours: float | None = None, budget: float | None = None, **filters: Any
) -> OfferPicker:
    """Return the offer picker with the offers that fit.

    Parameters
    ----------
    query
        As for ``%gpu offers``: ``"vram >= 80 and reliability > 0.98"``.
    hours
        How long to rent; None is the setting.
    budget
        US dollars; None is the setting, or 1.2 times the price.
    filters
        ``gpu``, ``gpus``, ``vram``, ``max_price``, ``cloud``, ``region``, ``disk``, ``spot`` …:
        the options of ``%gpu offers``, a text or a list of texts each.

    Returns
    -------
    OfferPicker
        ``.session`` is what was rented once it is ready, ``.wait()`` waits for it.

    Raises
    ------
    BadInput
        The query or a filter breaks its rule.
    """
    from gpunb.notebook.widgets.picker import OfferPicker
    from gpunb.notebook.widgets.searching import Wanted
    from gpunb.services.searching import checked

    made = OfferPicker(Wanted(query=query, hours=hours, budget=budget, filters=checked("pick", filters)))
    made.ask()
    return made


def panel(*names: str) -> SessionPanel:
    """Return the panel of the sessions `names`, or of all live ones."""
    from gpunb.notebook.widgets.panel import SessionPanel

    return SessionPanel(names)


def open_for(opening: Opening) -> Any:
    """Return the widget that a verb's result asks for."""
    return pick() if opening.what == "picker" else panel(*opening.names)
