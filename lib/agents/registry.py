"""The configured agents by name: which one a question is for, and which ones a caller may see."""

from collections.abc import Mapping
from typing import Literal

from lib.agent_settings import AgentSettings
from lib.errors import AgentUnknown, InvalidRequest, UserRequired


class AgentRegistry:
    """The agents that the settings name. Callers name one of them, never a workspace, an address or a tool."""

    def __init__(self, agents: Mapping[str, AgentSettings]) -> None:
        self._agents = dict(agents)

    def choose(self, name: str | None, kind: Literal["user", "app"]) -> AgentSettings:
        """The agent called `name`; without a name the only one that a principal of that kind may ask.

        Raises `InvalidRequest` where a name is needed, `AgentUnknown` where it is not known (both list the names that
        may be used), and `UserRequired` where an app names an agent for people.
        """
        listed = {agent.name: agent for agent in self.listed(kind)}
        if name is None and len(listed) == 1:
            return next(iter(listed.values()))
        if name is None:
            told = "There are several agents: name the one to ask in `agent`."
            raise InvalidRequest(told, members={"agents": list(listed)})
        if name not in self._agents:
            raise AgentUnknown(members={"agents": list(listed)})
        if name not in listed:
            raise UserRequired
        return listed[name]

    def listed(self, kind: Literal["user", "app"]) -> tuple[AgentSettings, ...]:
        """The agents that a principal of that kind may ask: an app only those that are asked as an app."""
        return tuple(agent for agent in self._agents.values() if kind == "user" or agent.identity == "app")
