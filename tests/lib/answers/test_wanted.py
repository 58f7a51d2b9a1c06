"""Rules for a question as it counts: whose answer it is, what that is kept by, and who pays."""

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agent_settings import AgentSettings
from lib.agents.addresses import AgentAddress
from lib.agents.question import Question, Turn
from lib.answers.wanted import APP_CALLER, Wanted, wanted
from lib.identity.principal import Assertion, Principal
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys

pytestmark = pytest.mark.stack

GATEWAY = ("gateway-tenant", "gateway")
SALES = AgentSettings("sales", AgentAddress("https://api.fabric.microsoft.com/x", "w", "a", translated=False))
SHARED = replace(SALES, name="company", identity="app", shared=True)
ALICE = Principal(str(uuid.uuid4()), str(uuid.uuid4()), kind="user", signed_in="bearer", expires_at=0)
BOB = replace(ALICE, object_id=str(uuid.uuid4()))
QUESTION = Question("How much?")
BEFORE = (Turn("user", "By product?"), Turn("assistant", "Yes."))


@pytest.fixture
def keys(key_vault_client: KeyVault) -> RowKeys:
    """What rows are named by."""
    return RowKeys(key_vault_client)


async def want(
    keys: RowKeys, who: Principal = ALICE, agent: AgentSettings = SALES, question: Question = QUESTION
) -> Wanted:
    """What somebody wants."""
    return await wanted(keys, who, agent, question, GATEWAY)


async def test_an_answer_is_its_askers_own(keys: RowKeys) -> None:
    """They pay for it, it lies in their partition, and they are who Fabric takes for asking."""
    of_alice = await want(keys)
    assert of_alice.payer == of_alice.key.partition == of_alice.caller == await keys.partition(*of_alice.owner)
    assert of_alice.owner == (ALICE.tenant_id, ALICE.object_id)
    assert (await want(keys, BOB)).key.partition != of_alice.key.partition


async def test_a_shared_answer_is_the_gateways_and_each_asker_pays(keys: RowKeys) -> None:
    """However strongly they have signed in: the app asks, and sees the same for everybody."""
    of_alice = await want(keys, replace(ALICE, acrs=frozenset({"c1"})), SHARED)
    of_bob = await want(keys, BOB, SHARED)
    assert of_alice.key == of_bob.key
    assert of_alice.owner == of_bob.owner == GATEWAY
    assert of_alice.caller == of_bob.caller == APP_CALLER
    assert of_alice.payer != of_bob.payer
    assert of_alice.payer == await keys.partition(ALICE.tenant_id, ALICE.object_id)


async def test_an_agent_that_is_asked_as_the_app_shares_nothing_by_itself(keys: RowKeys) -> None:
    """Its answers are each asker's own, although Fabric knows one caller."""
    alone = replace(SHARED, shared=False)
    of_alice, of_bob = await want(keys, ALICE, alone), await want(keys, BOB, alone)
    assert of_alice.key.partition == of_alice.payer != of_bob.key.partition
    assert of_alice.caller == of_bob.caller == APP_CALLER


async def test_white_space_does_not_count(keys: RowKeys) -> None:
    """Of whatever kind, wherever."""
    assert await want(keys, question=Question(" How\n much? ")) == await want(keys)


@pytest.mark.parametrize(
    ("agent", "question", "acrs"),
    [
        (SALES, Question("how much?"), ()),
        (SALES, Question("Howmuch?"), ()),
        (SALES, QUESTION, ("c1",)),
        (replace(SALES, name="stock"), QUESTION, ()),
        (replace(SALES, address=replace(SALES.address, url="https://api.fabric.microsoft.com/y")), QUESTION, ()),
        (replace(SALES, identity="app"), QUESTION, ()),
        (SALES, Question("How much?", history=BEFORE), ()),
        (SALES, Question("How much?", history=BEFORE[:1]), ()),
        (SALES, Question("How much?", history=(Turn("assistant", "By product?"), BEFORE[1])), ()),
        (SALES, Question("How much?", history=(Turn("user", "By product? "), BEFORE[1])), ()),
    ],
    ids=["letters", "words", "strength", "name", "address", "identity", "history", "part of it", "roles", "its blanks"],
)
async def test_everything_else_is_another_question(
    keys: RowKeys, agent: AgentSettings, question: Question, acrs: tuple[str, ...]
) -> None:
    """Also to the same agent under a new address, and to one whose rows were everybody's before."""
    others = [await want(keys), await want(keys, question=Question("How much?", history=(*BEFORE, BEFORE[0])))]
    one = await want(keys, replace(ALICE, acrs=frozenset(acrs)), agent, question)
    assert one.key.question not in {other.key.question for other in others}
    assert one.key.partition == others[0].key.partition


async def test_an_answer_that_builds_on_a_conversation_is_not_kept(keys: RowKeys) -> None:
    """Any other as long as its agent says."""
    assert (await want(keys)).fresh_seconds == SALES.cache_seconds == 300
    assert (await want(keys, question=Question("How much?", history=BEFORE))).fresh_seconds == 0
    assert (await want(keys, agent=replace(SALES, cache_seconds=0))).fresh_seconds == 0


async def test_what_it_is_asked_with_is_named_and_not_told(keys: RowKeys) -> None:
    """By a key that gives nothing away; an app has no grant, and nobody's counts where the gateway itself asks."""
    grant = Assertion("secret-token", 0, 0)
    asked = await want(keys, replace(ALICE, grant=grant))
    assert asked.grant == grant.key
    assert (await want(keys)).grant == ""
    assert (await want(keys, replace(ALICE, grant=grant), SHARED)).grant == ""
    assert "secret-token" not in repr(asked)
    assert ALICE.object_id not in repr(asked)


async def test_who_wants_an_answer_anew_says_so(keys: RowKeys) -> None:
    """Everything else is the same."""
    anew = await wanted(keys, ALICE, SALES, QUESTION, GATEWAY, anew=True)
    assert anew == replace(await want(keys), anew=True)


TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), st.text(max_size=3)), max_size=3).map(tuple)
QUESTIONS = st.builds(Question, st.text("ab \n", min_size=1, max_size=4), st.none(), TURNS)


class _Named:
    """Keys that can be read."""

    async def partition(self, *parts: str) -> str:
        return repr(parts)

    async def row(self, *parts: str) -> str:
        return repr(parts)


@given(QUESTIONS, QUESTIONS)
async def test_two_questions_are_one_only_where_their_words_and_conversations_are(
    one: Question, other: Question
) -> None:
    """No two are taken for each other by where one part ends and the next begins."""
    first, second = [await wanted(_Named(), ALICE, SALES, each, GATEWAY) for each in (one, other)]  # type: ignore[arg-type]
    same = (one.text.split(), one.history) == (other.text.split(), other.history)
    assert (first.key == second.key) == same
