"""What the emulated Fabric holds."""

from dataclasses import replace

import pytest

from local.fabric import SALES_AGENT, Fabric
from local.people import SALES_AGENT_ID, WORKSPACE_ID


@pytest.mark.parametrize(
    ("name", "tool_name"),
    [
        ("Sales", "DataAgent_Sales"),
        ("Sales 2026 (Q1)", "DataAgent_Sales_2026__Q1_"),
        ("Técnico", "DataAgent_T_cnico"),
        ("sales_agent-2", "DataAgent_sales_agent_2"),
    ],
    ids=["a word", "blanks and brackets", "accents", "dashes"],
)
def test_a_tool_is_called_after_its_agent(name: str, tool_name: str) -> None:
    """Whatever is no letter or digit of ASCII becomes an underscore."""
    assert replace(SALES_AGENT, name=name).tool_name == tool_name


def test_an_agent_is_asked_at_its_own_address() -> None:
    """The path is the one that Fabric's portal shows."""
    assert SALES_AGENT.path == f"/v1/mcp/workspaces/{WORKSPACE_ID}/dataagents/{SALES_AGENT_ID}/agent"


def test_fabric_has_the_sales_agent_unless_told_otherwise() -> None:
    """The local stack needs no more."""
    assert Fabric().agents == {SALES_AGENT_ID: SALES_AGENT}


def test_a_question_is_counted_by_its_hash() -> None:
    """Whoever asks: a test wants to know that nothing was asked twice; the text itself is nowhere."""
    fabric = Fabric()
    for person in ("alice", "bob"):
        fabric.take_in(person, SALES_AGENT.tool_name, "total sales")
    assert [fabric.times_asked(question) for question in ("total sales", "total units")] == [2, 0]
    assert fabric.asked == [("alice", SALES_AGENT.tool_name), ("bob", SALES_AGENT.tool_name)]
    assert "total sales" not in repr(vars(fabric))
