"""Where SIGINT reaches a kernel: a cell's code, and nothing around it.

ipykernel lets it through from the moment that a request is there until its reply is out. If its own code is
what is interrupted, it sends no reply, and who waits for the cell waits for ever.
"""

from __future__ import annotations

import functools
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Interrupts:
    """Raises KeyboardInterrupt in the code of a cell; one that comes before it is kept until there.

    Parameters
    ----------
    shell
        The kernel's IPython.
    """

    def __init__(self, shell: Any) -> None:
        self._due = False
        self._inside = False
        run_cell, run_async = shell.run_cell, shell.run_cell_async

        @functools.wraps(run_cell)  # ipykernel asks for the parameters of both
        def open_to(*args: Any, **more: Any) -> Any:
            return self._open_to(run_cell, *args, **more)

        @functools.wraps(run_async)
        def checked(*args: Any, **more: Any) -> Any:
            if not self._inside:  # a cell that awaits is cancelled by ipykernel itself
                self._check()
            return run_async(*args, **more)

        shell.run_cell, shell.run_cell_async = open_to, checked

    def hold(self) -> Any:
        """Keep interrupts from here on; returns the handler before."""
        self._due = False
        return signal.signal(signal.SIGINT, self._keep)

    def _keep(self, *_: Any) -> None:
        self._due = True

    def _check(self) -> None:
        due, self._due = self._due, False
        if due:
            raise KeyboardInterrupt

    def _open_to(self, run_cell: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if self._inside or threading.current_thread() is not threading.main_thread():
            return run_cell(*args, **more)
        self._check()
        try:
            self._inside = True
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return run_cell(*args, **more)
        finally:
            self._inside = False
            self.hold()
