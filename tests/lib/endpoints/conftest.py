"""What the tests of endpoints share."""

import pytest

from lib.gateway import Gateway
from tests.lib.endpoints.caller import Caller, caller
from tests.lib.whole import Whole


@pytest.fixture
def instance(whole: Whole) -> Gateway:
    """One instance of a gateway."""
    return whole.instance()


@pytest.fixture
async def asker(instance: Gateway) -> Caller:
    """Somebody who asks it."""
    return await caller(instance)
