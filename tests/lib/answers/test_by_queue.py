"""Rules for the queue way of an operation, with real parts on a real Azurite and an agent on the wire."""

import asyncio
import json
import logging
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given as supposing
from hypothesis import strategies as st
from starlette.responses import Response

from lib.agents.data_agent import DataAgent
from lib.answers import by_queue
from lib.answers.by_queue import ByQueue, traceparent_of
from lib.answers.cache import Kept
from lib.answers.encoding import decode
from lib.answers.failures_kept import from_json
from lib.answers.operation import PICK_UP_SECONDS, SEND_AGAIN_SECONDS, Operation
from lib.answers.operations import FINISH_PAUSES, FINISH_SECONDS, Operations
from lib.answers.questions import Questions
from lib.answers.work import Work
from lib.errors import GatewayError, OutcomeUnknown, StateUnavailable, StepUpRequired
from lib.storage.queues import Queue
from lib.telemetry.traces import read_traceparent, trace_id
from tests.clock import Clock
from tests.lib.agents.recorded import sample
from tests.lib.agents.upstream import Planned, Upstream
from tests.lib.answers.conftest import Mailbox, Places, lose_key
from tests.lib.answers.works import TOKEN, Notes, body, work
from tests.lib.conftest import RunningVault
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

FORBIDDEN = Response(status_code=403)
SECONDS = 90


class AppTokens:
    """The gateway's own tokens."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, *, rejected: str | None = None) -> str:
        """The next one."""
        assert rejected is None
        self.asked += 1
        return "the app's own"


@pytest.fixture
def app_tokens() -> AppTokens:
    """The gateway's own tokens."""
    return AppTokens()


type Runner = Callable[..., ByQueue]


@pytest.fixture
def runner(
    kept: Operations,
    mailbox: Mailbox,
    way: Questions,
    places: Places,
    upstream: Upstream,
    app_tokens: AppTokens,
    clock: Clock,
) -> Runner:
    """Makes an instance that accepts and runs questions; `agents` are those it is configured with."""

    def make(agents: dict[str, DataAgent] | None = None, queue: Queue | None = None) -> ByQueue:
        known = {"sales": upstream.agent(clock)} if agents is None else agents
        return ByQueue(
            kept, queue or mailbox.queue, way, places.limiter, lambda: known, app_tokens, seconds=SECONDS, now=clock
        )

    return make


async def begun(runner: ByQueue, kept: Operations, places: Places, wanted: Work) -> Operation:
    """An accepted operation, with a place of its own."""
    operation_id = kept.new_id()
    await places.take(wanted.wanted.payer, operation_id)
    return await runner.begin(operation_id, wanted)


async def now_of(kept: Operations, operation: Operation) -> Operation:
    """How it stands."""
    now = await kept.read(operation.partition, operation.id)
    assert now is not None
    return now


async def problem_of(kept: Operations, operation: Operation) -> GatewayError:
    """What it has failed with."""
    now = await now_of(kept, operation)
    assert now.state == "failed"
    return from_json(now.failed_with)


async def text_of(kept: Operations, operation: Operation) -> str:
    """Its answer."""
    answer = await kept.answer(await now_of(kept, operation))
    assert answer is not None
    return decode(answer.json).text


def message_of(operation: Operation) -> bytes:
    """The message about it."""
    return json.dumps({"partition": operation.partition, "operation": operation.id}).encode()


def questions_to(upstream: Upstream) -> int:
    """How often the agent was asked."""
    return upstream.methods.count("tools/call")


# On its way to a runner


async def test_a_message_holds_ids_and_nothing_else(
    runner: Runner, kept: Operations, places: Places, mailbox: Mailbox
) -> None:
    """It lives as long as the question may be picked up. The trace goes along, for whoever runs it to go on with."""
    scope = trace_id.set("0af7651916cd43dd8448eb211c80319c")
    operation = await begun(runner(), kept, places, work("total sales"))
    trace_id.reset(scope)
    (message,) = await mailbox.received()
    trace, _ = read_traceparent(traceparent_of(message))
    assert trace == "0af7651916cd43dd8448eb211c80319c"
    assert json.loads(message) == {
        "partition": operation.partition,
        "operation": operation.id,
        "traceparent": traceparent_of(message),
    }
    assert mailbox.lifetimes == [PICK_UP_SECONDS]
    assert (operation.state, operation.deadline) == ("accepted", operation.created + PICK_UP_SECONDS)


@pytest.mark.parametrize(
    "message", [b"", b"[]", b"5", b"{}", b'{"traceparent": null}', b'{"traceparent": 7}', b"\xff"], ids=ascii
)
def test_a_message_without_a_trace_has_none(message: bytes) -> None:
    """It may be of the release before, or nobody's."""
    assert traceparent_of(message) == ""


async def test_a_question_that_cannot_be_sent_is_not_accepted(
    runner: Runner, kept: Operations, mailbox: Mailbox
) -> None:
    """Its row says that it has expired, and holds nothing any more: a message that arrives all the same is late."""
    operation_id, wanted = kept.new_id(), work()
    mailbox.front.planned.extend([FORBIDDEN])
    with pytest.raises(StateUnavailable):
        await runner().begin(operation_id, wanted)
    operation = await kept.read(wanted.wanted.payer, operation_id)
    assert operation is not None
    assert (operation.state, operation.row.values["sealed"]) == ("expired", b"")


async def test_a_question_that_can_be_neither_sent_nor_taken_back_is_told_as_not_accepted(
    runner: Runner, kept: Operations, mailbox: Mailbox, front: Front
) -> None:
    """Storage is away altogether."""
    mailbox.front.planned.append(FORBIDDEN)
    front.planned.extend([front.pass_on, FORBIDDEN])
    with pytest.raises(StateUnavailable):
        await runner().begin(kept.new_id(), work())


async def test_a_message_whose_reply_was_lost_counts_where_it_was_picked_up(
    runner: Runner, kept: Operations, upstream: Upstream
) -> None:
    """The runner was faster than the failure."""

    class Swift:
        async def send(self, text: str, *, time_to_live_seconds: float) -> None:
            assert time_to_live_seconds == PICK_UP_SECONDS
            await runner().run(text.encode())
            raise StateUnavailable

    operation = await runner(queue=Swift()).begin(kept.new_id(), work())
    assert await text_of(kept, operation) == "Asked: How much?"
    assert questions_to(upstream) == 1


# Asked, once


async def test_whoever_receives_the_message_asks_with_the_token_that_was_sealed(
    runner: Runner, kept: Operations, places: Places, mailbox: Mailbox, upstream: Upstream, notes: Notes
) -> None:
    """The answer is there, noted where it belongs, and the place is free; nothing is sealed any more."""
    operation = await begun(runner(), kept, places, work(conversation="c" * 32))
    assert await places.taken(operation.partition) == [operation.id]
    (message,) = await mailbox.received()
    await runner().run(message)
    assert await text_of(kept, operation) == "Asked: How much?"
    assert {request.headers["authorization"] for request in upstream.requests} == {f"Bearer {TOKEN}"}
    assert [conversation for conversation, _, _ in notes.noted] == ["c" * 32]
    assert await places.taken(operation.partition) == []
    assert (await now_of(kept, operation)).row.values["sealed"] == b""


async def test_an_agent_of_the_apps_is_asked_with_the_apps_own_token(
    runner: Runner, kept: Operations, upstream: Upstream, app_tokens: AppTokens
) -> None:
    """None is kept anywhere for that."""
    operation = await runner().begin(kept.new_id(), work(token="", caller="app"))
    await runner().run(message_of(operation))
    assert await text_of(kept, operation) == "Asked: How much?"
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer the app's own"}
    assert app_tokens.asked == 1


async def test_a_message_that_comes_again_asks_nothing(runner: Runner, kept: Operations, upstream: Upstream) -> None:
    """Queues deliver at least once; while the first is at it, and whenever later."""
    operation, first = await runner().begin(kept.new_id(), work()), runner()
    upstream.pause.clear()
    running = asyncio.create_task(first.run(message_of(operation)))
    await upstream.sent("initialize", 1)
    await runner().run(message_of(operation))
    assert (await now_of(kept, operation)).state == "asked"
    upstream.pause.set()
    await running
    for _ in range(2):
        await runner().run(message_of(operation))
    assert questions_to(upstream) == 1
    assert (await now_of(kept, operation)).state == "done"


async def test_of_many_who_receive_it_at_once_one_asks(runner: Runner, kept: Operations, upstream: Upstream) -> None:
    """The write that makes it asked decides."""
    operation = await runner().begin(kept.new_id(), work())
    await asyncio.gather(*(runner().run(message_of(operation)) for _ in range(5)))
    assert questions_to(upstream) == 1
    assert await text_of(kept, operation) == "Asked: How much?"


async def test_a_claim_whose_reply_was_lost_is_known_as_ones_own(
    runner: Runner, kept: Operations, upstream: Upstream, front: Front
) -> None:
    """By its mark: it is asked, and once."""
    operation = await runner().begin(kept.new_id(), work())
    front.planned.extend([front.pass_on, front.lose_reply])
    await runner().run(message_of(operation))
    assert await text_of(kept, operation) == "Asked: How much?"
    assert questions_to(upstream) == 1


@pytest.mark.parametrize("made", [True, False], ids=["made, and its reply lost", "not made"])
async def test_a_claim_that_nobody_can_vouch_for_asks_nothing(
    runner: Runner, kept: Operations, places: Places, upstream: Upstream, front: Front, clock: Clock, *, made: bool
) -> None:
    """The message comes again: then it is asked if nobody has claimed it, and never if somebody may have."""
    operation = await begun(runner(), kept, places, work())
    front.planned.extend([front.pass_on, *([front.lose_reply, FORBIDDEN] if made else [FORBIDDEN])])
    with pytest.raises(StateUnavailable):
        await runner().run(message_of(operation))
    assert questions_to(upstream) == 0
    await runner().run(message_of(operation))
    assert questions_to(upstream) == (0 if made else 1)
    if made:
        clock.advance(SECONDS + FINISH_SECONDS)
        await kept.settle(await now_of(kept, operation))
        assert isinstance(await problem_of(kept, operation), OutcomeUnknown)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
async def test_what_has_ended_is_not_asked(runner: Runner, kept: Operations, upstream: Upstream, end: str) -> None:
    """Its message is too late."""
    operation = await runner().begin(kept.new_id(), work())
    await kept.end(operation, end)  # type: ignore[arg-type]
    await runner().run(message_of(operation))
    assert upstream.methods == []


async def test_a_question_that_was_given_up_between_the_look_and_the_claim_is_not_asked(
    runner: Runner, kept: Operations, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim meets a row that is no longer as it was read."""
    operation, opened = await runner().begin(kept.new_id(), work()), kept.work

    async def late(seen: Operation) -> Work:
        await kept.end(seen, "cancelled")
        return await opened(seen)

    monkeypatch.setattr(kept, "work", late)
    await runner().run(message_of(operation))
    assert upstream.methods == []
    assert (await now_of(kept, operation)).state == "cancelled"


@pytest.mark.parametrize("seconds", [PICK_UP_SECONDS, 10 * PICK_UP_SECONDS])
async def test_a_question_that_is_picked_up_too_late_has_expired(
    runner: Runner, kept: Operations, upstream: Upstream, clock: Clock, seconds: int
) -> None:
    """Whoever waited for it has gone: a late message says so in the row."""
    operation = await runner().begin(kept.new_id(), work())
    clock.advance(seconds)
    await runner().run(message_of(operation))
    assert upstream.methods == []
    assert (await now_of(kept, operation)).state == "expired"


async def test_an_answer_to_what_was_given_up_while_it_was_asked_is_dropped(
    runner: Runner, kept: Operations, places: Places, upstream: Upstream, notes: Notes
) -> None:
    """It stays cancelled, nothing is noted, and the place is free once the agent has answered."""
    operation = await begun(runner(), kept, places, work(conversation="c" * 32))
    upstream.pause.clear()
    running = asyncio.create_task(runner().run(message_of(operation)))
    await upstream.sent("initialize", 1)
    await kept.end(await now_of(kept, operation), "cancelled")
    assert await places.taken(operation.partition) == [operation.id]
    upstream.pause.set()
    await running
    assert (await now_of(kept, operation)).state == "cancelled"
    assert notes.noted == []
    assert await places.taken(operation.partition) == []


async def test_an_answer_that_cannot_be_kept_is_never_asked_for_again(
    runner: Runner, kept: Operations, places: Places, upstream: Upstream, front: Front, clock: Clock
) -> None:
    """The host delivers again, in vain; once its time is over the outcome is unknown. The place is free."""
    operation = await begun(runner(), kept, places, work())
    front.planned.extend([front.pass_on, front.pass_on, *[FORBIDDEN] * (len(FINISH_PAUSES) + 1)])
    with pytest.raises(StateUnavailable):
        await runner().run(message_of(operation))
    assert clock.slept[-len(FINISH_PAUSES) :] == list(FINISH_PAUSES)
    assert await places.taken(operation.partition) == []
    await runner().run(message_of(operation))
    assert questions_to(upstream) == 1
    clock.advance(SECONDS + FINISH_SECONDS)
    await runner().run(message_of(operation))
    assert isinstance(await problem_of(kept, operation), OutcomeUnknown)


# What goes wrong with the agent


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ((403, {}, b""), "agent_access_denied"),
        ((500, {}, b""), "agent_unavailable"),
        (httpx.ReadTimeout(""), "deadline_exceeded"),
        ((430, {}, b""), "capacity_exceeded"),
        ((200, {"content-type": "text/html"}, b"<html>"), "agent_failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failure_is_kept_as_the_problem_it_is(
    runner: Runner, kept: Operations, places: Places, upstream: Upstream, reply: Planned, code: str
) -> None:
    """The run itself has succeeded: nothing is delivered again, and the place is free."""
    operation = await begun(runner(), kept, places, work())
    upstream.plan("tools/call", reply)
    await runner().run(message_of(operation))
    assert (await problem_of(kept, operation)).code == code
    assert questions_to(upstream) == 1
    assert await places.taken(operation.partition) == []


async def test_a_claims_challenge_waits_for_the_asker(runner: Runner, kept: Operations, upstream: Upstream) -> None:
    """With the claims, for them to take to Entra."""
    operation = await runner().begin(kept.new_id(), work())
    upstream.plan("tools/call", sample("tools-call.challenge"))
    await runner().run(message_of(operation))
    problem = await problem_of(kept, operation)
    assert isinstance(problem, StepUpRequired)
    assert "access_token" in problem.claims


async def test_a_token_that_fabric_refuses_has_no_second(
    runner: Runner, kept: Operations, upstream: Upstream, way: Questions, clock: Clock
) -> None:
    """The asker is not here to get another one; and what the agent has answered them before is dropped."""
    wanted = work(fresh_seconds=300)
    key = wanted.wanted.key
    way._cache.put(key, Kept(body("old"), clock.now - 60))
    operation = await runner().begin(kept.new_id(), wanted)
    upstream.plan("tools/call", sample("token-missing"))
    await runner().run(message_of(operation))
    assert (await problem_of(kept, operation)).code == "agent_unavailable"
    assert questions_to(upstream) == 1
    assert way._cache.get(key, at_most=3600, valid_after=0) is None


async def test_while_the_agent_is_away_the_askers_own_earlier_answer_is_given(
    runner: Runner, kept: Operations, upstream: Upstream, way: Questions, clock: Clock
) -> None:
    """With its age; it has done its work so."""
    wanted = work(fresh_seconds=300)
    way._cache.put(wanted.wanted.key, Kept(body("old"), clock.now - 1000))
    operation = await runner().begin(kept.new_id(), wanted)
    upstream.plan("tools/call", (500, {}, b""))
    await runner().run(message_of(operation))
    answer = await kept.answer(await now_of(kept, operation))
    assert answer is not None
    assert (decode(answer.json).text, answer.stale, answer.age) == ("old", True, 1000)


async def test_an_agent_that_is_left_alone_is_not_called(
    runner: Runner, kept: Operations, upstream: Upstream, clock: Clock
) -> None:
    """It said when to come back."""
    agent = upstream.agent(clock)
    agent._guard.cooldown.hold(60)
    operation = await runner().begin(kept.new_id(), work())
    await runner({"sales": agent}).run(message_of(operation))
    problem = await problem_of(kept, operation)
    assert (problem.code, problem.retry_after) == ("capacity_exceeded", 60)
    assert upstream.methods == []


async def test_an_agent_that_was_taken_out_of_the_settings_is_unknown(runner: Runner, kept: Operations) -> None:
    """The message is from before."""
    operation = await runner().begin(kept.new_id(), work())
    await runner({}).run(message_of(operation))
    assert (await problem_of(kept, operation)).code == "agent_unknown"


async def test_work_that_nobody_can_open_is_left_to_time(
    runner: Runner, kept: Operations, upstream: Upstream, vault: RunningVault, clock: Clock
) -> None:
    """Its key was taken away: delivering again would not help."""
    operation = await runner().begin(kept.new_id(), work())
    lose_key(vault, clock)
    clock.advance(3600)
    kept._now = lambda: operation.created  # only the key is older
    await runner().run(message_of(operation))
    assert upstream.methods == []
    assert (await now_of(kept, operation)).state == "accepted"


# Messages that say nothing


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b"\xff\xfe",
        b'{"partition": "p", "operation": "o"}',
        b'{"partition": 7, "operation": 7}',
        b'{"partition": "' + b"a" * 32 + b'"}',
        b'{"partition": "' + b"a" * 32 + b'", "operation": "' + b"A" * 32 + b'"}',
        b'{"partition": "' + b"a" * 32 + b'", "operation": "' + b"a" * 33 + b'"}',
    ],
)
async def test_a_message_of_nonsense_is_logged_and_done_with(
    runner: Runner, front: Front, caplog: pytest.LogCaptureFixture, message: bytes
) -> None:
    """To deliver it again would not help, and nothing of it is told."""
    front.methods.clear()
    with caplog.at_level(logging.ERROR):
        await runner().run(message)
    assert [record.getMessage() for record in caplog.records] == ["a message of the queue names no operation"]
    assert front.methods == []


async def test_a_message_about_nothing_is_done_with(runner: Runner, upstream: Upstream) -> None:
    """Its row was swept."""
    await runner().run(b'{"partition": "' + b"a" * 32 + b'", "operation": "' + b"b" * 32 + b'"}')
    assert upstream.methods == []


@supposing(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_comes_names_an_operation_or_nothing(message: bytes) -> None:
    """Keys of rows are hex, whoever wrote the message."""
    assert by_queue._ids(message) == ("", "")


# Sent again


async def test_a_question_that_is_not_picked_up_is_sent_again(
    runner: Runner, kept: Operations, mailbox: Mailbox, clock: Clock
) -> None:
    """Every thirty seconds, by whoever comes to look."""
    reader, operation = runner(), await runner().begin(kept.new_id(), work())
    assert await mailbox.ids() == [operation.id]
    clock.advance(SEND_AGAIN_SECONDS - 1)
    assert await reader.look(operation) is operation
    assert await mailbox.ids() == []
    clock.advance(1)
    looked = await reader.look(operation)
    assert (looked.state, looked.sent) == ("accepted", clock.now)
    assert await mailbox.ids() == [operation.id]
    clock.advance(SEND_AGAIN_SECONDS)
    await reader.look(looked)
    assert await mailbox.ids() == [operation.id]


async def test_of_two_readers_one_sends_it_again(
    runner: Runner, kept: Operations, mailbox: Mailbox, clock: Clock
) -> None:
    """The other sees how it stands by then."""
    operation = await runner().begin(kept.new_id(), work())
    await mailbox.received()
    clock.advance(SEND_AGAIN_SECONDS)
    looked = await asyncio.gather(*(runner().look(operation) for _ in range(4)))
    assert await mailbox.ids() == [operation.id]
    assert {(each.state, each.sent) for each in looked} == {("accepted", clock.now)}


async def test_what_is_under_way_or_over_is_not_sent_again(
    runner: Runner, kept: Operations, mailbox: Mailbox, clock: Clock
) -> None:
    """However old it is; also where somebody has picked it up since it was read."""
    operation = await runner().begin(kept.new_id(), work())
    await mailbox.received()
    asked = await kept.move(operation, "asked")
    clock.advance(SEND_AGAIN_SECONDS)
    assert await runner().look(asked) is asked
    assert await runner().look(operation) == asked
    assert await mailbox.ids() == []


async def test_a_message_that_cannot_be_sent_again_is_tried_later(
    runner: Runner, kept: Operations, mailbox: Mailbox, clock: Clock
) -> None:
    """The reader is told that storage is away."""
    operation = await runner().begin(kept.new_id(), work())
    await mailbox.received()
    clock.advance(SEND_AGAIN_SECONDS)
    mailbox.front.planned.append(FORBIDDEN)
    with pytest.raises(StateUnavailable):
        await runner().look(operation)
    clock.advance(SEND_AGAIN_SECONDS)
    await runner().look(await now_of(kept, operation))
    assert await mailbox.ids() == [operation.id]
