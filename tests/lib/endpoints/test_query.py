"""Rules for the reply to a question: its forms, what it says of kept answers, and what a request may ask of them."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.answer import Answer
from lib.agents.markdown import Table
from lib.answers.cache import Kept
from lib.answers.encoding import encode
from lib.answers.given import Given
from lib.endpoints.query import wants_anew
from lib.errors import NotAcceptable
from lib.replies import CSV, answer_body, answer_reply, cache_status
from lib.strict_json import parse_object
from lib.web.bodies import JSON
from lib.web.request import Request
from lib.web.response import Response

LIMITS = (("RateLimit", '"minute";r=2;t=3'), ("RateLimit-Policy", '"minute";q=20;w=60'))
TABLE = Answer("| n |\n| --- |\n| 5 |", "n\n5", (Table(("n",), (("5",),)), Table(("m",), (("=6",),))))
WORDS = Answer("Five.", "Five.")


def given_answer(answer: Answer = TABLE, how: str = "fetched", age: int = 0, fresh_for: int = 300) -> Given:
    """An answer as it is given."""
    return Given(Kept(encode(answer).json, 0), how, age, fresh_for, LIMITS)


async def reply(media_types: list[str], agent: str, one: Given, milliseconds: int) -> Response:
    """The reply to a question."""
    return await answer_reply(media_types, one, {"agent": agent, "timing": {"total_ms": milliseconds}})


def request(**headers: str) -> Request:
    """A question with these headers."""
    return Request("POST", {name.replace("_", "-"): value for name, value in headers.items()})


async def test_a_reply_says_what_was_answered_by_whom_and_whether_it_was_kept() -> None:
    """In JSON, with what is left of the limits."""
    response = await reply([JSON], "sales", given_answer(how="kept", age=7, fresh_for=293), 12)
    assert response.status == 200
    value = json.loads(response.body)
    assert re.fullmatch(r"[0-9a-f]{32}", value.pop("id"))
    assert value == {
        "agent": "sales",
        "cached": {"hit": True, "age": 7, "stale": False},
        "timing": {"total_ms": 12},
        "answer": json.loads(encode(TABLE).json),
    }
    headers = dict(response.headers)
    assert headers == {"Content-Type": JSON, "Cache-Status": "fabric-gateway; hit; ttl=293", **dict(LIMITS)}


async def test_each_reply_has_an_id_of_its_own() -> None:
    """Also where the answer is the same."""
    replies = [await reply([JSON], "sales", given_answer(), 1) for _ in range(2)]
    first, second = [json.loads(each.body)["id"] for each in replies]
    assert first != second


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, TEXT, TEXT, st.integers(0, 10**6))
def test_whatever_an_answer_holds_stays_within_it(agent: str, markdown: str, text: str, milliseconds: int) -> None:
    """The reply is one JSON object with its own members, each once."""
    answer = Answer(markdown, text, (Table((text,), ((markdown,),)),))
    body = answer_body(given_answer(answer, "kept", 400, -100), {"agent": agent, "timing": {"total_ms": milliseconds}})
    value = parse_object(body)
    assert set(value) == {"id", "agent", "cached", "timing", "answer"}
    assert value["agent"] == agent
    assert value["answer"] == json.loads(encode(answer).json)
    assert value["cached"] == {"hit": True, "age": 400, "stale": True}


@pytest.mark.parametrize(
    ("how", "fresh_for", "told"),
    [
        ("fetched", 300, "fwd=miss"),
        ("joined", 290, "fwd=miss; collapsed"),
        ("kept", 293, "hit; ttl=293"),
        ("kept", -5, "hit; ttl=-5"),
    ],
)
async def test_a_reply_tells_what_became_of_the_question_here(how: str, fresh_for: int, told: str) -> None:
    """In the words of RFC 9211, in every form of the reply; past its time, the time it is over is negative."""
    one = given_answer(how=how, age=10, fresh_for=fresh_for)
    assert cache_status(one) == ("Cache-Status", f"fabric-gateway; {told}")
    for media_type in (JSON, CSV):
        response = await reply([media_type], "sales", one, 1)
        assert dict(response.headers)["Cache-Status"] == f"fabric-gateway; {told}"
        assert set(LIMITS) <= set(response.headers)
    hit = json.loads((await reply([JSON], "sales", one, 1)).body)["cached"]
    assert hit == {"hit": how == "kept", "age": 10, "stale": how == "kept" and fresh_for <= 0}


async def test_a_table_is_given_as_a_spreadsheet_to_who_takes_that() -> None:
    """The first one, as a file, with cells that run nothing."""
    response = await reply([CSV, JSON], "sales", given_answer(), 1)
    assert response.body == b"n\r\n5\r\n"
    headers = dict(response.headers)
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"] == 'attachment; filename="answer.csv"'
    second = replace(TABLE, tables=TABLE.tables[1:])
    assert (await reply([CSV], "sales", given_answer(second), 1)).body == b"m\r\n'=6\r\n"


async def test_an_answer_without_a_table_is_given_in_the_next_form() -> None:
    """Where there is none it is refused, and the refusal tells what is left all the same."""
    response = await reply([CSV, JSON], "sales", given_answer(WORDS), 1)
    assert dict(response.headers)["Content-Type"] == JSON
    with pytest.raises(NotAcceptable) as refusal:
        await reply([CSV], "sales", given_answer(WORDS), 1)
    assert refusal.value.headers == LIMITS


@pytest.mark.parametrize(
    ("value", "anew"),
    [
        ("no-cache", True),
        ("No-Cache", True),
        ("max-age=0, no-cache", True),
        ("no-cache,no-store", True),
        ("no-store", False),
        ("max-age=0", False),
        ("no-cache-please", False),
        ("", False),
    ],
)
def test_who_takes_no_kept_answer_says_no_cache(value: str, anew: bool) -> None:
    """RFC 9111, section 5.2.1.4: alone or among others, in any letters."""
    assert wants_anew(request(cache_control=value)) == anew
    assert not wants_anew(request())
