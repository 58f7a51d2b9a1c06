"""How answers and operations are told: as JSON, as CSV, as the state of something that is still under way."""

import asyncio
import math
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lib.agents.spreadsheet import write_csv
from lib.answers.encoding import decode
from lib.answers.given import Given
from lib.answers.operation import Operation
from lib.errors import NotAcceptable
from lib.web.bodies import JSON
from lib.web.response import Response, compact_json, json_response

CSV = "text/csv"
LOOK_AGAIN_SECONDS = 2
MOST_ON_LOOP = 64 * 1024


async def answer_reply(media_types: Sequence[str], given: Given, around: dict[str, Any]) -> Response:
    """The answer as the first of `media_types` that can hold it: JSON holds any, CSV its first table.

    `around` is what the JSON has beside the answer. Raises `NotAcceptable` where none of them can.
    """
    told = (cache_status(given), *given.limits)
    for media_type in media_types:
        if media_type == JSON:
            return Response(200, answer_body(given, around), (("Content-Type", JSON), *told))
        answer = await asyncio.to_thread(decode, given.json) if len(given.json) > MOST_ON_LOOP else decode(given.json)
        if answer.tables:
            headers = (
                ("Content-Type", f"{CSV}; charset=utf-8"),
                ("Content-Disposition", 'attachment; filename="answer.csv"'),
            )
            return Response(200, write_csv(answer.tables[0]).encode(), (*headers, *told))
    refusal = NotAcceptable(f"The answer has no table, and so no form as {CSV}: take {JSON} too.")
    refusal.headers = given.limits
    raise refusal


def answer_body(given: Given, around: dict[str, Any]) -> bytes:
    """The answer with what is `around` it. It is JSON already, and goes in as it is."""
    members = {
        "id": secrets.token_hex(16),
        **around,
        "cached": {"hit": given.how == "kept", "age": given.age, "stale": given.stale},
    }
    return compact_json(members)[:-1] + b',"answer":' + given.json + b"}"


def cache_status(given: Given) -> tuple[str, str]:
    """The field that says what became of the question here (RFC 9211)."""
    told = {"kept": f"hit; ttl={given.fresh_for}", "joined": "fwd=miss; collapsed", "fetched": "fwd=miss"}
    return "Cache-Status", f"fabric-gateway; {told[given.how]}"


def operation_reply(operation: Operation, now: float, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """That the operation is under way, where to look for it, and when."""
    wait = max(LOOK_AGAIN_SECONDS, math.ceil(operation.look_at - now))
    where = (("Location", f"/api/query/{operation.id}"), ("Retry-After", str(wait)))
    return json_response(operation_status(operation), 202, headers=(*where, *headers))


def operation_status(operation: Operation) -> dict[str, Any]:
    """What is told of an operation."""
    return {
        "id": operation.id,
        "status": operation.state,
        "agent": operation.agent,
        "conversation_id": operation.conversation or None,
        "created_at": datetime.fromtimestamp(operation.created, UTC).isoformat(timespec="seconds"),
    }
