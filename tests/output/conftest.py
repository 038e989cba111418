"""The host, connection and client of tests/remote, here too."""

from tests.remote.conftest import *  # noqa: F403
