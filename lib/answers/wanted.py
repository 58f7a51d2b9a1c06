"""A question as it counts: who pays for it, whose answer it is, and what that is kept by."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lib.answers.cache import AnswerKey

if TYPE_CHECKING:
    from lib.agent_settings import AgentSettings
    from lib.agents.question import Question
    from lib.identity.principal import Principal
    from lib.storage.row_keys import RowKeys

APP_CALLER = "app"


@dataclass(frozen=True)
class Wanted:
    """What one principal wants to know of one agent.

    `payer` is the partition of who asks, `owner` (tenant id, object id) whose answer it is: the payer's own, or the
    gateway's where an agent's answers are shared. `caller` is whom Fabric takes for asking, `grant` what of the payer's
    it is asked with: nothing, where the app asks. The answer is kept for `fresh_seconds`, 0 for never, and one kept
    before is not given to who wants it `anew`.
    """

    key: AnswerKey
    payer: str
    owner: tuple[str, str] = field(repr=False)
    caller: str
    grant: str = field(repr=False)
    fresh_seconds: int
    anew: bool = False


async def wanted(
    keys: "RowKeys",
    principal: "Principal",
    agent: "AgentSettings",
    question: "Question",
    gateway: tuple[str, str],
    *,
    anew: bool = False,
) -> Wanted:
    """What `principal` wants; `gateway` is the gateway's own (tenant id, object id).

    White space in a question does not count, its letters do, and so does what was said before it; an answer to that is
    not kept. How strongly somebody has signed in may decide what Fabric shows them. Another address or identity under
    the same name is another agent: kept answers outlive a change of settings. Raises `StateUnavailable`.
    """
    payer = await keys.partition(principal.tenant_id, principal.object_id)
    grant = principal.grant.key if principal.grant and agent.identity == "user" else ""
    if agent.shared:
        return replace(await of_gateway(keys, agent, question, gateway), payer=payer, grant=grant, anew=anew)
    owner, strength = (principal.tenant_id, principal.object_id), " ".join(sorted(principal.acrs))
    return Wanted(
        key=AnswerKey(payer, agent.name, await _question_key(keys, agent, strength, question)),
        payer=payer,
        owner=owner,
        caller=APP_CALLER if agent.identity == "app" else payer,
        grant=grant,
        fresh_seconds=_fresh_seconds(agent, question),
        anew=anew,
    )


async def of_gateway(keys: "RowKeys", agent: "AgentSettings", question: "Question", gateway: tuple[str, str]) -> Wanted:
    """What the gateway itself wants to know of a shared agent, whose answers are everybody's. Raises likewise."""
    partition, configured = await keys.partition(*gateway), _words(question.text) in map(_words, agent.questions)
    return Wanted(
        key=AnswerKey(partition, agent.name, await _question_key(keys, agent, "", question), configured),
        payer=partition,
        owner=gateway,
        caller=APP_CALLER,
        grant="",
        fresh_seconds=_fresh_seconds(agent, question),
    )


async def _question_key(keys: "RowKeys", agent: "AgentSettings", strength: str, question: "Question") -> str:
    said = (part for turn in question.history for part in (turn.role, turn.content))
    words = _words(question.text)
    return await keys.row("question", agent.name, agent.address.url, agent.identity, strength, words, *said)


def _words(text: str) -> str:
    return " ".join(text.split())


def _fresh_seconds(agent: "AgentSettings", question: "Question") -> int:
    return 0 if question.history else agent.cache_seconds
