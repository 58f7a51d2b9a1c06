"""The board of an instance that is alone."""

from lib.agents.discovery import Discovery
from lib.agents.mcp import Session, Tool
from lib.agents.notices import NoNotices, Notice


async def test_where_there_is_no_board_nothing_is_told_and_nothing_stands_there() -> None:
    """Telling does not fail."""
    notices = NoNotices()
    await notices.tell_cooldown(30)
    await notices.tell_discovery(Discovery(Session("2025-06-18"), Tool("t", "q", "h")), 600)
    assert await notices.read() == Notice(0, None, 0)
