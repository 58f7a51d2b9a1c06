"""Limits, end to end: what one asks too much, only that one is refused; counted over all instances."""

import base64
import hmac
import json
import re
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.data.tables import TableClient

from lib.storage.framing import framed
from lib.storage.row_keys import KEY_DIGITS
from lib.storage.standings import ROW, TABLE
from local.entra import tokens
from local.fabric import Agent, faults
from local.faults import drop
from local.people import GATEWAY_CLIENT_ID, GATEWAY_OBJECT_ID, SCRIPT_CLIENT_ID, TENANT_ID
from local.stack import Stack
from tests.integration.browser import Browser
from tests.integration.callers import page_headers
from tests.integration.instances import QUESTION, Instance, bearer, instance_of
from tests.integration.people import newcomers
from tests.lib.storage.front import Front

SMALL = {"LIMIT_PER_MINUTE": "1", "LIMIT_BURST": "3", "LIMIT_PER_DAY": "5", "ANSWER_CACHE_SECONDS": "0"}
ROOMY = {"LIMIT_BURST": "100", "LIMIT_PER_DAY": "1000", "LIMIT_IN_FLIGHT": "10"}

type Start = Callable[..., Instance]
type NewPerson = Callable[[], str]


@pytest.fixture
def start(stack: Stack, tmp_path: Path) -> Iterator[Start]:
    """Starts one more instance, with these settings over small limits."""
    with ExitStack() as running:

        def started(**settings: str) -> Instance:
            return running.enter_context(instance_of(stack, tmp_path / uuid.uuid4().hex, SMALL | settings))

        yield started


@pytest.fixture
def new_token(stack: Stack, browser: Browser) -> Iterator[NewPerson]:
    """Makes an access token of somebody with whom the agent is shared, and who was never seen before."""
    with ExitStack() as made:

        def new() -> str:
            (person,) = made.enter_context(newcomers(stack, 1))
            return browser.token(person.key)

        yield new


def refused(reply: httpx.Response, policy: str, code: str = "rate_limited", status: int = 429) -> None:
    """Checks the problem, which names the limit and says when to come back."""
    value = reply.json()
    assert (reply.status_code, value["code"], value["violated-policies"]) == (status, code, [policy]), reply.text
    assert int(reply.headers["retry-after"]) >= 1
    kind = "quota-exceeded" if status == 429 else "temporary-reduced-capacity"
    assert value["type"] == f"https://iana.org/assignments/http-problem-types#{kind}"


def test_past_the_burst_a_question_is_refused_on_every_instance_and_nobody_elses(
    start: Start, new_token: NewPerson, stack: Stack
) -> None:
    """Three at once, wherever they are asked; replies tell how much is left, to pages as well."""
    here, there = start(), start()
    carol, dave = new_token(), new_token()
    assert [instance.ask(carol).status_code for instance in (here, there, here)] == [200] * 3
    asked = len(stack.fabric.asked)
    for instance in (here, there):
        reply = instance.ask(carol)
        refused(reply, "minute")
        assert reply.headers["ratelimit"].startswith('"minute";r=0;t=')
        assert int(reply.headers["retry-after"]) >= int(reply.headers["ratelimit"].partition("t=")[2].split(",")[0])
        exposed = set(reply.headers["access-control-expose-headers"].split(", "))
        assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= exposed
    assert len(stack.fabric.asked) == asked
    reply = here.ask(dave)
    assert reply.status_code == 200
    assert reply.headers["ratelimit"].startswith('"minute";r=2;t=')
    assert reply.headers["ratelimit-policy"] == (
        '"minute";q=1;w=60, "day";q=5;w=86400, "in-flight";q=2;qu="concurrent-requests"'
    )


def test_a_day_and_a_restart(start: Start, new_token: NewPerson) -> None:
    """What was counted outlives the process that counted it."""
    carol = new_token()
    roomy = start(LIMIT_BURST="10")
    assert [roomy.ask(carol).status_code for _ in range(5)] == [200] * 5
    again = start(LIMIT_BURST="10")
    refused(again.ask(carol), "day")


def test_no_more_than_two_are_under_way_at_once(start: Start, new_token: NewPerson, stack: Stack) -> None:
    """And when they are done, the next may come."""
    instance, carol = start(LIMIT_BURST="10"), new_token()
    instance.ask(carol)
    stack.fabric.faults.plan("tools/call", faults.late(1.5), faults.late(1.5))
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda number: instance.ask(carol, f"{QUESTION} {number}"), range(3)))
    assert sorted(reply.status_code for reply in replies) == [200, 200, 429]
    refused(next(reply for reply in replies if reply.status_code == 429), "in-flight", "too_many_in_flight")
    assert instance.ask(carol).status_code == 200


def test_storage_calls_are_counted(start: Start, new_token: NewPerson, storage: tuple[Front, str]) -> None:
    """One read and two writes for the limits, two when the row is known; none for a refusal, none for a kept answer.

    An answer that is kept for other instances costs a look for one and a write; there it is read once.
    """
    front, connection_string = storage
    kept = {"STATE_STORAGE": connection_string, "ANSWER_CACHE_SECONDS": "300"}
    here, there = start(**kept), start(**kept)
    for each in (here, there):
        assert each.ask(new_token()).status_code == 200  # the rows of the tenant and of everybody are read once
    carol = new_token()
    assert cost(front, here, carol, QUESTION) == "read read write write write"
    assert cost(front, here, carol, f"{QUESTION} 2") == "read write write write"
    assert cost(front, here, carol, QUESTION) == ""
    assert here.ask(carol, QUESTION).json()["cached"]["hit"] is True
    assert cost(front, there, carol, QUESTION) == "read read"
    assert there.ask(carol, QUESTION).json()["cached"]["hit"] is True
    for _ in range(20):
        assert cost(front, there, carol, QUESTION) == ""
    assert cost(front, here, carol, f"{QUESTION} 3") == "read write write write"
    assert cost(front, here, carol, f"{QUESTION} 4", status=429) == ""
    assert cost(front, here, carol, f"{QUESTION} 4", status=429) == ""


def test_storage_calls_of_who_keeps_nothing_and_of_sessions(
    start: Start, new_token: NewPerson, storage: tuple[Front, str], browser: Browser
) -> None:
    """Without kept answers only the limits cost; a session is read with each request, and nothing else for it."""
    front, connection_string = storage
    keeps_none = start(STATE_STORAGE=connection_string)
    dave = new_token()
    assert keeps_none.ask(dave).status_code == 200
    assert [cost(front, keeps_none, dave, f"{QUESTION} {number}") for number in range(2)] == ["write write"] * 2
    assert cost(front, keeps_none, dave, QUESTION, status=429) == ""
    keeps = start(STATE_STORAGE=connection_string, ANSWER_CACHE_SECONDS="300")
    assert browser.call("POST", "/api/login", headers=bearer(new_token())).status_code == 201
    page = page_headers(browser)
    assert keeps.ask("", headers=page).status_code == 200
    assert cost(front, keeps, "", QUESTION, headers=page) == "read"
    assert cost(front, keeps, "", f"{QUESTION} 2", headers=page) == "read read write write write"


def cost(front: Front, at: Instance, token: str, question: str, *, status: int = 200, **options: Any) -> str:
    """What a question costs of storage: at most six calls for one of somebody unknown there, four of somebody known.

    An answer is inserted, or written over one that has the same place: both are one write.
    """
    front.methods.clear()
    reply = at.ask(token, question, **options)
    assert reply.status_code == status, reply.text
    return " ".join("read" if method == "GET" else "write" for method in front.methods)


def test_while_storage_is_away_a_share_serves_and_nobody_has_to_restart_anything(
    start: Start, new_token: NewPerson, storage: tuple[Front, str]
) -> None:
    """Of two instances each lets a question through every six seconds; what it let through is counted afterwards."""
    front, connection_string = storage
    small_share = {"LIMIT_PER_MINUTE": "20", "MAX_INSTANCES": "2", "ANSWER_CACHE_SECONDS": "300"}
    instance = start(STATE_STORAGE=connection_string, **small_share)
    carol, dave = new_token(), new_token()
    assert instance.ask(carol).headers["ratelimit"].partition('"day";')[2].startswith("r=4;")
    front.planned.extend([drop] * 1000)
    stranger = instance.ask(dave)
    assert (stranger.status_code, stranger.json()["code"]) == (503, "state_unavailable")
    assert "violated-policies" not in stranger.json()

    def reply_to(token: str, question: str, status: int, policy: str | None = None) -> httpx.Response:
        """The first reply of that kind."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            reply = instance.ask(token, question)
            if reply.status_code == status and reply.json().get("violated-policies", [None]) == [policy]:
                return reply
            time.sleep(0.2)
        raise AssertionError(f"no such reply; the last one: {reply.text}")

    refused(reply_to(carol, "Two?", 503, "minute"), "minute", "state_unavailable", 503)
    assert instance.ask(carol).json()["cached"]["hit"] is True
    reply_to(carol, "Two?", 200)
    refused(instance.ask(carol, "Three?"), "minute", "state_unavailable", 503)
    front.planned.clear()
    reply_to(dave, QUESTION, 200)
    assert instance.ask(carol, "Four?").headers["ratelimit"].partition('"day";')[2].startswith("r=2;")


def test_one_persons_flood_leaves_another_alone(start: Start, new_token: NewPerson) -> None:
    """Refusals are cheap: the other's questions take about as long as without them."""
    instance = start(**ROOMY, LIMIT_PER_MINUTE="60")
    carol, dave = new_token(), new_token()

    def median() -> float:
        times = []
        for number in range(12):
            began = time.perf_counter()
            assert instance.ask(dave, f"{QUESTION} {number}").status_code == 200
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    median()
    alone = median()
    done = False

    def flood() -> int:
        count = 0
        while not done and count < 400:
            count += instance.ask(carol).status_code == 429
        return count

    while instance.ask(carol).status_code != 429:  # a slow machine gets more than the burst through
        pass
    with ThreadPoolExecutor(2) as pool:
        floods = [pool.submit(flood) for _ in range(2)]
        crowded = median()
        done = True
    assert sum(future.result() for future in floods) >= 12  # one for each question of the other
    assert crowded < 10 * alone + 0.25


def test_failed_credentials_of_an_address_are_limited_and_good_ones_come_in(
    start: Start, new_token: NewPerson, stack: Stack
) -> None:
    """An office behind one address does not suffer from one of its machines, nor from those who are merely late."""
    instance, carol = start(FAILURES_PER_MINUTE="1"), new_token()
    forged = carol[:-4] + ("AAAA" if carol[-4:] != "AAAA" else "BBBB")
    late = tokens.lasting(stack.issuer, -120, tokens.app_claims(SCRIPT_CLIENT_ID, SCRIPT_CLIENT_ID, GATEWAY_CLIENT_ID))
    assert {instance.ask(late).json()["code"] for _ in range(25)} == {"token_expired"}
    assert {instance.ask("").json()["code"] for _ in range(25)} == {"token_missing"}
    codes = [instance.ask(forged).json()["code"] for _ in range(22)]
    assert codes == ["token_invalid"] * 20 + ["rate_limited"] * 2
    cookie = {"Cookie": "__Host-session=forged", "X-CSRF": "1"}
    elsewhere = ({"Client-IP": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.1"})
    for token, headers in [("", cookie), *((forged, claimed) for claimed in elsewhere)]:
        reply = instance.ask(token, headers=headers)
        assert (reply.status_code, reply.json()["violated-policies"]) == (429, ["failures"])
        assert reply.json()["type"].endswith("#abnormal-usage-detected")
        assert int(reply.headers["retry-after"]) >= 1
        assert "ratelimit" not in reply.headers
    assert instance.ask(late).json()["code"] == "token_expired"
    assert instance.ask(carol).status_code == 200


def test_calls_in_the_gateways_own_name_are_counted_all_together(
    start: Start, new_token: NewPerson, stack: Stack
) -> None:
    """Discovery takes three, each question one; then everybody waits."""
    company = Agent(
        "Company", "For all.", "3d9e4f50-6172-4c83-8d94-acf5bf16d0aa", readers=frozenset({GATEWAY_OBJECT_ID}),
        app_region="East",
    )  # fmt: skip
    stack.fabric.agents[company.object_id] = company
    agents = {"company": {"url": stack.urls["fabric"] + company.path, "identity": "app"}}
    try:
        instance = start(DATA_AGENTS=json.dumps(agents), APP_CALLS_PER_MINUTE="1", LIMIT_BURST="10", LIMIT_PER_DAY="99")
        replies = [instance.ask(new_token()) for _ in range(9)]
    finally:
        del stack.fabric.agents[company.object_id]
        forget_own_calls(stack)
    statuses = [reply.status_code for reply in replies]
    assert statuses == [200] * 7 + [429] * 2, [reply.text for reply in replies]
    refused(replies[-1], "app")
    assert re.match(r'"minute";r=9;', replies[-1].headers["ratelimit"])


def forget_own_calls(stack: Stack) -> None:
    """Deletes the row that counts the gateway's own calls: by this rate it would be full for minutes."""
    key = base64.b64decode(stack.vault.get("index-key").value)
    own = hmac.digest(key, framed("partition", TENANT_ID, GATEWAY_CLIENT_ID), "sha256").hex()[:KEY_DIGITS]
    with TableClient.from_connection_string(stack.azurite.connection_string, TABLE) as rows:
        rows.delete_entity(own, ROW)
