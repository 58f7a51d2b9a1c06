"""What an agent is no longer is not taken from others again, who may tell of it for a while."""

from functools import partial

import pytest

from lib.agents.connection import Connection
from lib.agents.discovery import Discoveries, Discovery
from lib.agents.mcp import Session, Tool
from lib.traffic.retries import retry
from tests.clock import Clock
from tests.lib.agents.upstream import ADDRESS, Upstream, soon


@pytest.fixture
def upstream() -> Upstream:
    """The agent, whose tool is `DataAgent_Sales`."""
    return Upstream()


@pytest.fixture
def discoveries(upstream: Upstream) -> Discoveries:
    """What is known of it, which is nothing."""
    clock = Clock()
    again = partial(retry, sleep=clock.sleep)
    return Discoveries(Connection(ADDRESS, upstream.transport()), again, ttl=600, now=clock)


def told(name: str, schema_hash: str = "hash") -> Discovery:
    """What others tell of the agent: its tool by this name."""
    return Discovery(Session("2025-06-18"), Tool(name, "userQuestion", schema_hash))


def test_what_was_disproved_is_not_adopted_again(discoveries: Discoveries) -> None:
    """Whoever comes next would ask under the old name once more; under another one they may."""
    old = told("DataAgent_Old")
    discoveries.adopt(old, 600)
    discoveries.forget(old)
    discoveries.adopt(told("DataAgent_Old"), 600)
    assert discoveries.known is None
    new = told("DataAgent_Old", "another hash")
    discoveries.adopt(new, 600)
    assert discoveries.known is new


async def test_what_is_found_to_be_so_again_is_believed_again(discoveries: Discoveries) -> None:
    """An address that led nowhere for a moment, or a name that came back."""
    found, _ = await discoveries.find("token", soon())
    discoveries.forget(found)
    again, is_new = await discoveries.find("token", soon())
    assert (again.tool, is_new) == (found.tool, True)
    discoveries._known = None
    discoveries.adopt(told(found.tool.name, found.tool.schema_hash), 600)
    assert discoveries.known
