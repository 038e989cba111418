"""The contract of all clouds, on a machine of one's own behind a real sshd."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from gpunb.providers.contract import ProviderContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.providers.ssh import SshProvider
    from tests.support.machines.own_hosts import OwnHost


class TestSsh(ProviderContract):
    unknown_id: ClassVar[str] = "aaaaaaaaaa"

    @pytest.fixture
    def provider(self, lab: OwnHost) -> Iterator[SshProvider]:
        made = lab.provider(price_usd_h=0.25)
        yield made
        made.close()
