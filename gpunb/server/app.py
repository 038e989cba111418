"""The Jupyter server extension: starts with the server, hands over to a supervisor when it ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Float

from gpunb import log, units
from gpunb.sessions.supervisor.process import TICK_S

if TYPE_CHECKING:
    from gpunb.server.hub import Hub

__all__ = ["GpunbApp"]


class GpunbApp(ExtensionApp):
    """The gpunb extension of a Jupyter server."""

    name = "gpunb"
    app_name = "gpunb"
    load_other_extensions = True
    hub: Hub | None = None

    supervise = Bool(
        True, help="Whether this server ends sessions when their lease is over, if nobody else does."
    ).tag(config=True)
    supervise_every = Float(help="Seconds between two looks of the supervisor.").tag(config=True)

    def _supervise_every_default(self) -> float:
        given = os.environ.get("GPUNB_SUPERVISE_EVERY", "")
        try:
            return min(60.0, max(0.1, units.duration(given))) if given else TICK_S
        except ValueError:
            return TICK_S

    def initialize_settings(self) -> None:
        """Create the state that the handlers share; nothing is opened yet."""
        from gpunb.server.hub import Hub

        log.setup(0)
        self.hub = Hub(self._root(), supervise=self.supervise, tick_s=self.supervise_every)
        self.settings["gpunb_hub"] = self.hub

    def initialize_handlers(self) -> None:
        """Register the routes."""
        from gpunb.server.routes import routes

        self.handlers.extend(routes())
        if self.hub is not None and not hasattr(ExtensionApp, "_start_jupyter_server_extension"):
            self.hub.start()  # a Jupyter server before 2.15 does not call this when its loop runs

    def _root(self) -> Path:
        found = getattr(self.serverapp, "root_dir", "") or ""
        return Path(found).expanduser().absolute() if found else Path.cwd()

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:  # noqa: ARG002
        """Start watching and supervising, once the event loop runs."""
        if self.hub is not None:
            self.hub.start()

    async def stop_extension(self) -> None:
        """Close the events, resign, and leave a supervisor if sessions are live."""
        hub, self.hub = self.hub, None
        if hub is not None:
            hub.feed.close()
            await asyncio.to_thread(hub.stop)
