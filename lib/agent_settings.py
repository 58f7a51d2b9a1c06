"""The settings of data agents: `DATA_AGENTS`, or `DATA_AGENT_URL` for a single one."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lib.agents.addresses import AgentAddress, UnknownAddress, parse_address
from lib.agents.question import accepted_text
from lib.environ import EnvironReader
from lib.errors import InvalidRequest
from lib.strict_json import parse_object

type AgentIdentity = Literal["user", "app"]

LONGEST_CACHE_SECONDS = 3600
MOST_QUESTIONS = 20

_AGENT_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_FIELDS: Mapping[str, type] = {
    "url": str, "description": str, "identity": str, "cache_seconds": int, "shared": bool, "questions": list,
}  # fmt: skip


@dataclass(frozen=True)
class AgentSettings:
    """One data agent as configured: `identity` says whose token asks it, each person's or the app's own.

    Its answers are kept for `cache_seconds`, 0 for never. Where it is `shared` (one asked as the app alone), a kept
    answer is everybody's, and those to its `questions` are kept fresh by a timer.
    """

    name: str
    address: AgentAddress
    description: str = ""
    identity: AgentIdentity = "user"
    cache_seconds: int = 300
    shared: bool = False
    questions: tuple[str, ...] = field(default=(), repr=False)


def read_agents(reader: EnvironReader) -> dict[str, AgentSettings]:
    """The agents of `DATA_AGENTS`, or the one of `DATA_AGENT_URL` under the name `default`."""
    keep = reader.number("ANSWER_CACHE_SECONDS", 300, 0, LONGEST_CACHE_SECONDS)
    if listed := reader.get("DATA_AGENTS"):
        if reader.get("DATA_AGENT_URL"):
            reader.problem("DATA_AGENT_URL", "is set beside DATA_AGENTS: set one of the two")
        try:
            described = parse_object(listed.encode(errors="replace"))
        except ValueError:
            described = {}
        if not described:
            reader.problem("DATA_AGENTS", "must be a JSON object: name → {url, description, identity}")
            return {}
        agents = (_agent(reader, f"DATA_AGENTS[{name}]", name, value, keep) for name, value in described.items())
        return {agent.name: agent for agent in agents if agent}
    url = reader.text("DATA_AGENT_URL")
    agent = _agent(reader, "DATA_AGENT_URL", "default", {"url": url}, keep) if url else None
    return {agent.name: agent} if agent else {}


def _agent(reader: EnvironReader, label: str, name: str, described: Any, keep: int) -> AgentSettings | None:
    if not _AGENT_NAME.fullmatch(name):
        reader.problem(label, "needs a name of small letters, digits and hyphens")
    if not isinstance(described, dict) or not all(type(value) is _FIELDS.get(key) for key, value in described.items()):
        reader.problem(label, "takes url, description, identity (texts), cache_seconds, shared and questions alone")
        return None
    identity: AgentIdentity = "app" if described.get("identity") == "app" else "user"
    if described.get("identity", identity) != identity:
        reader.problem(label, "has an identity that is neither user nor app")
    cache_seconds, shared = described.get("cache_seconds", keep), described.get("shared", False)
    if not 0 <= cache_seconds <= LONGEST_CACHE_SECONDS:
        reader.problem(label, f"has cache_seconds that are not from 0 to {LONGEST_CACHE_SECONDS}")
    if shared and identity != "app":
        reader.problem(label, "is shared but not asked as the app: people would be given each other's answers")
    questions = tuple(_questions(reader, label, described.get("questions", [])))
    if questions and not (shared and cache_seconds):
        reader.problem(label, "has questions to keep fresh, but is not shared, or keeps no answers")
    try:
        address = parse_address(described.get("url", ""), loopback_allowed=reader.development)
    except UnknownAddress as fault:
        reader.problem(label, str(fault))
        return None
    return AgentSettings(name, address, described.get("description", ""), identity, cache_seconds, shared, questions)


def _questions(reader: EnvironReader, label: str, listed: list[Any]) -> Iterator[str]:
    if len(listed) > MOST_QUESTIONS:
        reader.problem(label, f"has more than {MOST_QUESTIONS} questions")
    for question in listed[:MOST_QUESTIONS]:
        try:
            yield accepted_text("questions", question if isinstance(question, str) else "")
        except InvalidRequest:
            reader.problem(label, "has a question that nobody could ask")
