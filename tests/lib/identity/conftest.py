"""What the identity tests share."""

import pytest

from tests.clock import Clock
from tests.lib.identity.authority import Authority


@pytest.fixture
def authority(clock: Clock) -> Authority:
    """An Entra that answers as it should."""
    return Authority(clock)
