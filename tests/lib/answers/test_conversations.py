"""Rules for conversations, on a real Azurite and with the real Key Vault client."""

import asyncio
import itertools
import re
import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.agents.question import MAX_TURN_CHARACTERS, MAX_TURNS, Turn
from lib.answers.conversations import (
    APPEND_ATTEMPTS,
    KEPT_SECONDS,
    MOST_CONVERSATIONS,
    TABLE,
    Conversation,
    Conversations,
    Overview,
)
from lib.errors import NotFound, StateUnavailable
from lib.identity.principal import Principal
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.rows import Row
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack


@pytest.fixture
def conversations(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Conversations:
    """Conversations of a gateway."""
    return Conversations(tables, Sealer(KeyRing(key_vault_client, now=clock)), RowKeys(key_vault_client), now=clock)


@pytest.fixture
def alice() -> Principal:
    """Somebody who was never seen before."""
    return person()


@pytest.fixture
def bob() -> Principal:
    """Somebody else."""
    return person()


@pytest.fixture
def untouched_table(conversations: Conversations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversations without tables: whatever asks them fails."""
    monkeypatch.setattr(conversations, "_tables", None)


def person() -> Principal:
    """A person of a tenant."""
    return Principal(str(uuid.uuid4()), str(uuid.uuid4()), "user", "bearer", 1_800_003_600)


def turns(*contents: str) -> tuple[Turn, ...]:
    """What was said, by turns."""
    return tuple(Turn(role, content) for role, content in zip(itertools.cycle(("user", "assistant")), contents))


async def answered(conversations: Conversations, principal: Principal) -> Conversation:
    """A new conversation with a question and its answer."""
    return await conversations.append(await conversations.begin(principal, "sales"), "total sales", "1200")


async def ids(conversations: Conversations, principal: Principal) -> list[str]:
    """The ids in a person's list."""
    return [one.id for one in await conversations.listed(principal)]


async def refusal(conversations: Conversations, principal: Principal, conversation_id: str) -> NotFound:
    """Why it cannot be found."""
    with pytest.raises(NotFound) as fault:
        await conversations.find(principal, conversation_id)
    return fault.value


async def test_what_was_said_is_found_by_its_owner(
    conversations: Conversations, alice: Principal, clock: Clock
) -> None:
    """In order, with the agent and the times."""
    begun = await conversations.begin(alice, "sales")
    began = clock.now
    assert re.fullmatch("[0-9a-f]{32}", begun.id)
    assert await conversations.find(alice, begun.id) == begun
    assert (begun.agent, begun.created, begun.updated, begun.turns) == ("sales", began, began, ())
    clock.advance(60)
    first = await conversations.append(begun, "total sales", "1200")
    clock.advance(60)
    second = await conversations.append(first, "and by month?", "100 each")
    found = await conversations.find(alice, begun.id)
    assert found == second
    assert found.turns == turns("total sales", "1200", "and by month?", "100 each")
    assert (found.created, found.updated) == (began, began + 120)


async def test_each_conversation_has_an_id_of_chance(conversations: Conversations, alice: Principal) -> None:
    """128 bits, unless somebody else makes them."""
    made = {(await conversations.begin(alice, "sales")).id for _ in range(3)}
    assert len(made) == 3
    conversations._new_id = lambda: "0f" * 16
    assert (await conversations.begin(alice, "sales")).id == "0f" * 16


async def test_the_row_gives_nothing_away_but_its_overview(
    conversations: Conversations, tables: Tables, alice: Principal, clock: Clock
) -> None:
    """Who reads the table learns which agent was asked, when and how often, and neither by whom nor what."""
    conversation = await conversations.append(await conversations.begin(alice, "sales"), "total sales", "1200 euros")
    row = await tables.read(TABLE, conversation.row.partition, conversation.id)
    assert row is not None
    stored = repr((row.partition, row.key, dict(row.values)))
    for hidden in ("total sales", "1200 euros", alice.object_id, alice.tenant_id):
        assert hidden not in stored
    clear = {name: value for name, value in row.values.items() if name != "sealed"}
    assert clear == {
        "agent": "sales",
        "created": clock.now,
        "updated": clock.now,
        "turn_count": 2,
        "expires": clock.now + KEPT_SECONDS,
    }
    assert "total sales" not in repr(conversation)


async def test_somebody_elses_conversation_is_not_there(
    conversations: Conversations, alice: Principal, bob: Principal
) -> None:
    """Neither to be found, listed or deleted, and told as one that never was; of another tenant neither."""
    hers = await conversations.begin(alice, "sales")
    for stranger in (bob, replace(alice, tenant_id=bob.tenant_id)):
        foreign, unknown = (
            await refusal(conversations, stranger, hers.id),
            await refusal(conversations, stranger, "0" * 32),
        )
        assert (foreign.code, foreign.detail, foreign.members) == (unknown.code, unknown.detail, unknown.members)
        assert await conversations.listed(stranger) == []
        await conversations.delete(stranger, hers.id)
    assert await conversations.find(alice, hers.id) == hers


@pytest.mark.parametrize(
    "malformed", ["", "x", "0" * 31, "0" * 33, "A" * 32, "\u0660" * 32, "0" * 32 + "\n", "../" * 9]
)
@pytest.mark.usefixtures("untouched_table")
async def test_what_is_no_id_is_not_looked_for(conversations: Conversations, alice: Principal, malformed: str) -> None:
    """It is told as any other that is not there, and costs no call."""
    fault = await refusal(conversations, alice, malformed)
    assert (fault.status, fault.detail) == (404, "You have no conversation with that id.")
    await conversations.delete(alice, malformed)


async def test_a_row_copied_to_another_place_does_not_open(
    conversations: Conversations, tables: Tables, alice: Principal, bob: Principal
) -> None:
    """The seal binds what was said to its row: nobody reads another's turns by moving them."""
    hers = await conversations.append(await conversations.begin(alice, "sales"), "total sales", "1200")
    his, other = await conversations.begin(bob, "sales"), await conversations.begin(alice, "sales")
    for target, owner in ((his, bob), (other, alice)):
        await tables.update(TABLE, target.row, {"sealed": hers.row.values["sealed"]})
        await refusal(conversations, owner, target.id)


async def test_as_many_turns_are_kept_as_a_question_may_build_upon(
    conversations: Conversations, alice: Principal
) -> None:
    """The last ones, each as long as it may be there."""
    conversation = await conversations.begin(alice, "sales")
    contents = []
    for number in range(MAX_TURNS // 2 + 2):
        conversation = await conversations.append(conversation, f"{number}?", "a" * MAX_TURN_CHARACTERS + "b")
        contents += [f"{number}?", "a" * MAX_TURN_CHARACTERS]
    found = await conversations.find(alice, conversation.id)
    assert found.turns == conversation.turns == turns(*contents[-MAX_TURNS:])
    assert (await conversations.listed(alice))[0].turn_count == MAX_TURNS


@pytest.mark.parametrize("character", ["\U0001f600", "\u20ac", '"', "\n"], ids=ascii)
async def test_the_longest_conversation_fits_into_its_row(
    conversations: Conversations, alice: Principal, character: str
) -> None:
    """Whatever it is written in, in the bytes it takes most of."""
    conversation = await conversations.begin(alice, "sales")
    longest = replace(conversation, turns=turns(*[character * MAX_TURN_CHARACTERS] * MAX_TURNS))
    written = await conversations.append(longest, *[character * (MAX_TURN_CHARACTERS + 1)] * 2)
    assert await conversations.find(alice, conversation.id) == written
    assert len(written.turns) == MAX_TURNS
    shorter = await conversations.append(replace(written, turns=()), "short", "too")
    assert (await conversations.find(alice, conversation.id)).turns == shorter.turns == turns("short", "too")


@given(question=st.text(), answer=st.text())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_was_said_comes_back(
    conversations: Conversations, alice: Principal, question: str, answer: str
) -> None:
    """As it was; a lone surrogate, which no encoding can carry, as a question mark."""
    appended = await conversations.append(await conversations.begin(alice, "sales"), question, answer)
    found = await conversations.find(alice, appended.id)
    assert [turn.content for turn in found.turns] == [
        text.encode(errors="replace").decode() for text in (question, answer)
    ]


async def test_a_conversation_ends_a_week_after_its_last_turn(
    conversations: Conversations, alice: Principal, clock: Clock
) -> None:
    """For its owner at once, wherever the sweeper is."""
    conversation = await conversations.begin(alice, "sales")
    clock.advance(KEPT_SECONDS - 1)
    await conversations.append(conversation, "still there?", "yes")
    clock.advance(KEPT_SECONDS - 1)
    assert await ids(conversations, alice) == [conversation.id]
    await conversations.find(alice, conversation.id)
    clock.advance(1)
    assert await ids(conversations, alice) == []
    await refusal(conversations, alice, conversation.id)


async def test_the_list_has_the_latest_in_front_and_nothing_that_was_said(
    conversations: Conversations, alice: Principal, clock: Clock
) -> None:
    """By when each was continued last."""
    first = await conversations.begin(alice, "sales")
    clock.advance(1)
    second = await conversations.begin(alice, "stock")
    began = clock.now
    clock.advance(1)
    await conversations.append(first, "total sales", "1200")
    assert await conversations.listed(alice) == [
        Overview(first.id, "sales", began - 1, began + 1, 2),
        Overview(second.id, "stock", began, began, 0),
    ]


async def test_a_list_fetches_no_contents(
    key_vault_client: KeyVault, fronted: Tables, front: Front, alice: Principal, clock: Clock
) -> None:
    """One call, however much was said."""
    sealer, keys = Sealer(KeyRing(key_vault_client, now=clock)), RowKeys(key_vault_client)
    conversations = Conversations(fronted, sealer, keys, now=clock)
    for _ in range(2):
        await conversations.append(await conversations.begin(alice, "sales"), "q" * 8000, "a" * 8000)
    front.methods.clear()
    assert len(await conversations.listed(alice)) == 2
    assert front.methods == ["GET"]
    (row, _) = await conversations._rows(await keys.partition(alice.tenant_id, alice.object_id))
    assert "sealed" not in row.values


async def test_one_conversation_too_many_ends_the_one_that_was_continued_longest_ago(
    conversations: Conversations, alice: Principal, bob: Principal, clock: Clock
) -> None:
    """A person has twenty at most; others' do not count, one that goes on stays, and one without answer ends none."""
    his = await conversations.begin(bob, "sales")
    begun = []
    for _ in range(MOST_CONVERSATIONS):
        clock.advance(1)
        begun.append(await answered(conversations, alice))
    clock.advance(1)
    await conversations.append(begun[0], "total sales", "1200")
    clock.advance(1)
    newest = await conversations.begin(alice, "sales")
    await conversations.find(alice, begun[1].id)
    await conversations.append(newest, "total sales", "1200")
    await refusal(conversations, alice, begun[1].id)
    expected = [newest.id, begun[0].id, *(one.id for one in reversed(begun[2:]))]
    assert await ids(conversations, alice) == expected
    assert await ids(conversations, bob) == [his.id]


async def test_conversations_begun_at_once_are_no_more_than_twenty_either(
    conversations: Conversations, alice: Principal
) -> None:
    """Whichever of them come last."""
    await asyncio.gather(*(answered(conversations, alice) for _ in range(MOST_CONVERSATIONS + 5)))
    assert len(await ids(conversations, alice)) <= MOST_CONVERSATIONS
    newest = await answered(conversations, alice)
    await conversations.find(alice, newest.id)
    assert len(await ids(conversations, alice)) <= MOST_CONVERSATIONS


async def test_what_is_said_at_once_is_all_kept(conversations: Conversations, alice: Principal) -> None:
    """Whoever comes late goes behind what is there by then."""
    begun = await conversations.begin(alice, "sales")
    first = await conversations.append(begun, "one?", "1")
    second = await conversations.append(begun, "two?", "2")
    assert first.turns == turns("one?", "1")
    assert second.turns == turns("one?", "1", "two?", "2")
    assert await conversations.find(alice, begun.id) == second
    await asyncio.gather(*(conversations.append(second, f"{number}?", "x") for number in range(2)))
    found = await conversations.find(alice, begun.id)
    assert found.turns[:4] == second.turns
    assert sorted(turn.content for turn in found.turns[4:]) == ["0?", "1?", "x", "x"]


async def test_a_turn_that_always_comes_late_gives_up_and_says_so(
    conversations: Conversations, tables: Tables, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not try for ever; what others said stays."""
    begun = await conversations.begin(alice, "sales")
    await conversations.append(begun, "one?", "1")
    read, reads = tables.read, 0

    async def read_late(table: str, partition: str, key: str) -> Row | None:
        nonlocal reads
        reads += 1
        row = await read(table, partition, key)
        assert row is not None
        await tables.update(table, row, {"updated": row.values["updated"] + reads})
        return row

    monkeypatch.setattr(tables, "read", read_late)
    with pytest.raises(StateUnavailable):
        await conversations.append(begun, "two?", "2")
    monkeypatch.undo()
    assert reads == APPEND_ATTEMPTS
    assert (await conversations.find(alice, begun.id)).turns == turns("one?", "1")


async def test_a_late_turn_does_not_bring_a_conversation_back(
    conversations: Conversations, tables: Tables, alice: Principal
) -> None:
    """Deleted is deleted; whoever was answered meanwhile has their answer all the same."""
    begun = await conversations.begin(alice, "sales")
    await conversations.delete(alice, begun.id)
    late = await conversations.append(begun, "total sales", "1200")
    assert (late.id, late.turns) == (begun.id, turns("total sales", "1200"))
    assert await tables.read(TABLE, begun.row.partition, begun.id) is None
    await refusal(conversations, alice, begun.id)


async def test_deleting_twice_is_no_fault(conversations: Conversations, alice: Principal) -> None:
    """The one that is named, and no other."""
    ended, stays = await conversations.begin(alice, "sales"), await conversations.begin(alice, "sales")
    for _ in range(2):
        await conversations.delete(alice, ended.id)
    await refusal(conversations, alice, ended.id)
    assert await ids(conversations, alice) == [stays.id]


async def test_what_a_later_release_keeps_can_be_read(conversations: Conversations, alice: Principal) -> None:
    """Fields that this one does not know, in the row and in what is sealed, do no harm and stay."""
    begun = await conversations.begin(alice, "sales")
    place = (TABLE, begun.row.partition, begun.id)
    sealed = await conversations._sealer.seal(
        b'{"turns": [{"role": "user", "content": "x", "more": 1}], "title": "y"}', *place
    )
    row = await conversations._tables.update(TABLE, begun.row, {"sealed": sealed, "title": "y"})
    found = await conversations.find(alice, begun.id)
    assert found.turns == turns("x")
    continued = await conversations.append(found, "y?", "z")
    assert continued.row.values["title"] == row.values["title"] == "y"
