"""The SSH address of a machine whose cloud names an IP address and no port."""

from __future__ import annotations

__all__ = ["host_and_port"]


def host_and_port(ip: str | None) -> tuple[str, int]:
    """Return host and SSH port: 22, unless the address itself names another, as a simulated cloud's does."""
    text = (ip or "").strip()
    if not text:
        return "", 0
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        return host, int(port)
    return text, 22
