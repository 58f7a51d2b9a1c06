"""Rules for how answers and operations are told."""

import json
import re
from dataclasses import replace

import pytest

from lib.agents.answer import Answer
from lib.agents.markdown import Table
from lib.answers.cache import Kept
from lib.answers.encoding import encode
from lib.answers.given import Given
from lib.answers.operation import Operation
from lib.errors import NotAcceptable
from lib.replies import CSV, LOOK_AGAIN_SECONDS, MOST_ON_LOOP, answer_reply, operation_reply, operation_status
from lib.storage.rows import Row
from lib.web.bodies import JSON

LIMITS = (("RateLimit", '"minute";r=2;t=3'), ("RateLimit-Policy", '"minute";q=20;w=60'))
TABLE = Answer("| n |\n| --- |\n| 5 |", "n\n5", (Table(("n",), (("5",),)), Table(("m",), (("=6",),))))
WORDS = Answer("Five.", "Five.")
OPERATION = Operation(
    "0f" * 16, "running", "sales", 1_800_000_000.7, 0, Row("aa" * 16, "0f" * 16, {"sealed": b"x"}, "1")
)


def given(answer: Answer = TABLE, how: str = "fetched", age: int = 0, fresh_for: int = 300) -> Given:
    """An answer as it is given."""
    return Given(Kept(encode(answer).json, 0), how, age, fresh_for, LIMITS)


async def test_an_answer_is_told_with_what_is_around_it() -> None:
    """Its own JSON goes in as it is, behind the rest; what is left of the limits stands in the headers."""
    reply = await answer_reply([JSON], given(how="kept", age=7, fresh_for=293), {"agent": "sales", "id": "i"})
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "id": "i",
        "agent": "sales",
        "cached": {"hit": True, "age": 7, "stale": False},
        "answer": json.loads(encode(TABLE).json),
    }
    assert dict(reply.headers) == {"Content-Type": JSON, "Cache-Status": "fabric-gateway; hit; ttl=293", **dict(LIMITS)}


async def test_an_answer_without_an_id_gets_one_of_its_own() -> None:
    """Each reply another."""
    ids = {json.loads((await answer_reply([JSON], given(), {})).body)["id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


@pytest.mark.parametrize(
    ("how", "fresh_for", "told", "cached"),
    [
        ("fetched", 300, "fwd=miss", (False, False)),
        ("joined", 290, "fwd=miss; collapsed", (False, False)),
        ("kept", 293, "hit; ttl=293", (True, False)),
        ("kept", -5, "hit; ttl=-5", (True, True)),
    ],
)
async def test_a_reply_tells_what_became_of_the_question(
    how: str, fresh_for: int, told: str, cached: tuple[bool, bool]
) -> None:
    """In the words of RFC 9211, in every form."""
    one = given(how=how, age=10, fresh_for=fresh_for)
    for media_type in (JSON, CSV):
        headers = dict((await answer_reply([media_type], one, {})).headers)
        assert headers["Cache-Status"] == f"fabric-gateway; {told}"
    body = json.loads((await answer_reply([JSON], one, {})).body)
    assert (body["cached"]["hit"], body["cached"]["stale"]) == cached


@pytest.mark.parametrize("size", [0, MOST_ON_LOOP], ids=["short", "long"])
async def test_a_table_is_given_as_a_file(size: int) -> None:
    """The first one, whose cells run nothing; a long answer is read beside the loop."""
    answer = replace(TABLE, tables=TABLE.tables[1:], markdown="x" * size)
    reply = await answer_reply([CSV, JSON], given(answer), {})
    assert reply.body == b"m\r\n'=6\r\n"
    headers = dict(reply.headers)
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"] == 'attachment; filename="answer.csv"'


async def test_an_answer_without_a_table_has_no_form_as_csv() -> None:
    """It is given in the next form; where there is none the refusal tells what is left all the same."""
    reply = await answer_reply([CSV, JSON], given(WORDS), {})
    assert dict(reply.headers)["Content-Type"] == JSON
    with pytest.raises(NotAcceptable) as refusal:
        await answer_reply([CSV], given(WORDS), {})
    assert refusal.value.headers == LIMITS


def test_an_operation_under_way_is_told_with_where_to_look_for_it() -> None:
    """A relative address, which is good behind whatever name the gateway has."""
    reply = operation_reply(OPERATION, 1_800_000_001, (("Preference-Applied", "respond-async"),))
    assert reply.status == 202
    assert json.loads(reply.body) == operation_status(OPERATION)
    assert dict(reply.headers) == {
        "Content-Type": JSON,
        "Location": f"/api/query/{OPERATION.id}",
        "Retry-After": str(LOOK_AGAIN_SECONDS),
        "Preference-Applied": "respond-async",
    }


@pytest.mark.parametrize(("look_at", "retry_after"), [(0, 2), (99, 2), (101, 2), (102.1, 3), (115, 15)])
def test_nobody_is_sent_back_before_there_is_anything_to_see(look_at: float, retry_after: int) -> None:
    """Whole seconds, never too early, and two at least."""
    reply = operation_reply(replace(OPERATION, look_at=look_at), 100)
    assert dict(reply.headers)["Retry-After"] == str(retry_after)


def test_the_status_of_an_operation_tells_nothing_of_its_row() -> None:
    """Times are UTC; without a conversation there is none."""
    assert operation_status(OPERATION) == {
        "id": "0f" * 16,
        "status": "running",
        "agent": "sales",
        "conversation_id": None,
        "created_at": "2027-01-15T08:00:00+00:00",
    }
    assert operation_status(replace(OPERATION, conversation="c"))["conversation_id"] == "c"
