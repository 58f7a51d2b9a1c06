"""The counted calls are promises: they hold to the last one, whatever machine they are counted on."""

from collections.abc import Iterator

import pytest

from bench.calls import Calls, counts
from bench.stage import stage


@pytest.fixture(scope="module")
def counted() -> Iterator[dict[str, Calls]]:
    """What each kind of request costs, as the benchmark counts it."""
    with stage() as running:
        yield counts(running)


@pytest.mark.stack
def test_calls_are_as_few_as_is_promised(counted: dict[str, Calls]) -> None:
    """Of storage, Entra and Fabric, and how many questions the agent has heard."""
    assert {name: calls.numbers for name, calls in counted.items()} == {
        "the first of an instance": (7, 3, 1, 1),
        "health": (0, 0, 0, 0),
        "rejected": (0, 0, 0, 0),
        "cached, bearer": (0, 0, 0, 0),
        "cached, session": (1, 0, 0, 0),
        "uncached, bearer": (4, 0, 1, 1),
        "uncached, session": (5, 0, 1, 1),
        "uncached, somebody new": (5, 1, 1, 1),
        "32 alike at once": (4, 0, 1, 1),
    }
