"""The registry: which agent a name means, and who sees which."""

import pytest

from lib.agent_settings import AgentIdentity, AgentSettings
from lib.agents.addresses import AgentAddress
from lib.agents.registry import AgentRegistry
from lib.errors import AgentUnknown, InvalidRequest, UserRequired


def agent(name: str, identity: AgentIdentity = "user") -> AgentSettings:
    """An agent as configured."""
    return AgentSettings(
        name, AgentAddress("https://api.fabric.microsoft.com/x", "w", "a", translated=False), "", identity
    )


SALES, STOCK = agent("sales"), agent("stock", "app")
ONE = AgentRegistry({"sales": SALES})
TWO = AgentRegistry({"sales": SALES, "stock": STOCK})


def test_the_only_agent_is_the_default() -> None:
    """Where there is one agent, a question need not name it."""
    assert ONE.choose(None, "user") is SALES
    assert ONE.choose("sales", "user") is SALES
    assert TWO.choose(None, "app") is STOCK


def test_one_of_several_agents_has_to_be_named() -> None:
    """Where there are several, no agent is guessed; the refusal lists them."""
    assert TWO.choose("stock", "user") is STOCK
    with pytest.raises(InvalidRequest) as refused:
        TWO.choose(None, "user")
    assert refused.value.code == "invalid_request"
    assert refused.value.members == {"agents": ["sales", "stock"]}


@pytest.mark.parametrize("registry", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("name", ["other", "", "SALES", "sales "])
def test_an_unknown_name_is_refused(registry: AgentRegistry, name: str) -> None:
    """Only an agent's exact name means it, even where there is but one."""
    with pytest.raises(AgentUnknown) as refused:
        registry.choose(name, "user")
    assert "sales" in refused.value.members["agents"]


def test_an_app_is_told_of_the_agents_for_apps_alone() -> None:
    """An agent for people is refused to it, and is not among the names it is offered."""
    with pytest.raises(UserRequired):
        TWO.choose("sales", "app")
    with pytest.raises(AgentUnknown) as refused:
        TWO.choose("other", "app")
    assert refused.value.members == {"agents": ["stock"]}
    with pytest.raises(InvalidRequest):
        ONE.choose(None, "app")


def test_people_see_every_agent_and_apps_those_for_apps() -> None:
    """An agent that answers people only is not offered to an app."""
    assert TWO.listed("user") == (SALES, STOCK)
    assert TWO.listed("app") == (STOCK,)
