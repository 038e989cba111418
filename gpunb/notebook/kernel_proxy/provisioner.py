"""Kernel provisioner for whole notebooks: starts the local proxy of a kernel on a session's host.

Named by the kernelspecs that `gpunb.sessions.integrations.kernelspecs` writes; it is here and
not in `remote`, since it must know a session's state.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Unicode

__all__ = ["GpunbProvisioner"]

END_S = 10.0  # seconds that a proxy is given to end the host's kernel


class GpunbProvisioner(LocalProvisioner):
    """Provisioner of the local proxy process that stands for a kernel on a rented host.

    The process is up at once, so a start that waits for the host can be
    deleted like any other kernel.
    """

    session = Unicode(config=True, help="The id of the gpunb session that the kernel runs on")

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Refuse a session that is over; name the kernel on the host after this kernel.

        Raises
        ------
        GpunbError
            The session has ended, or there never was one.
        """
        await asyncio.to_thread(check, self.session)
        kwargs = await super().pre_launch(**kwargs)
        kernel = "nb" + "".join(letter for letter in str(self.kernel_id) if letter.isalnum()).lower()[:16]
        kwargs["cmd"] = [*kwargs["cmd"], "--kernel", kernel]
        return kwargs

    async def kill(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's signature
        """End the proxy, which ends the host's kernel; kill it if it does not end."""
        process: Any = self.process
        if process is not None and sys.platform != "win32":
            await self.send_signal(signal.SIGTERM)
            for _ in range(int(END_S / 0.1)):
                if process.poll() is not None:
                    return
                await asyncio.sleep(0.1)
        await super().kill(restart=restart)

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Allow more time than for a local kernel, for the way to the host and back."""
        return max(super().get_shutdown_wait_time(recommended), END_S)


def check(session_id: str) -> None:
    """Raise if that session can have no kernel.

    Raises
    ------
    WrongState, SessionNotFound
    """
    from gpunb.sessions.access import host_access
    from gpunb.sessions.ledger.sessions import Ledger

    with Ledger.open() as ledger:
        host_access.endpoint(ledger.find(session_id))
