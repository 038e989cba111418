"""What paramiko, and what it stands on, can raise: found in the modules, not listed by hand."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import inspect
import pkgutil
import socket
import ssl
import struct
import zlib
from typing import TYPE_CHECKING

import paramiko

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["faults"]


def _classes() -> list[type[Exception]]:
    found: set[type[Exception]] = {struct.error, zlib.error, EOFError, ValueError, AssertionError}
    # of a transport that was closed under the caller: None has no attribute, nor a key or a type
    found |= {AttributeError, KeyError, TypeError, IndexError, RuntimeError, UnicodeError}
    modules = [socket, ssl, paramiko, builtins]
    for info in pkgutil.walk_packages(paramiko.__path__, "paramiko."):
        with contextlib.suppress(ImportError, AttributeError):  # Windows and GSSAPI are not there
            modules.append(importlib.import_module(info.name))
    for module in modules:
        for one in vars(module).values():
            if inspect.isclass(one) and issubclass(one, Exception):
                ours = one.__module__.split(".")[0] in ("paramiko", "socket", "ssl")
                if ours or issubclass(one, OSError):
                    found.add(one)
    return sorted(found, key=lambda one: (one.__module__, one.__qualname__))


def _made(kind: type[Exception]) -> Exception:
    """One of `kind`, with whatever its constructor wants."""
    tries: list[tuple[object, ...]] = [
        ("made up",),
        (2, "made up"),
        (),
        ("made up", ["publickey"]),
        ({("127.0.0.1", 22): OSError("made up")},),
        ("host", paramiko.RSAKey.generate(1024), paramiko.RSAKey.generate(1024)),
    ]
    for args in tries:
        with contextlib.suppress(Exception):
            made = kind(*args)
            str(made)
            return made
    raise AssertionError(kind)


def faults() -> Iterator[Exception]:
    """An instance of each class."""
    return map(_made, _classes())
