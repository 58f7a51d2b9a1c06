"""`GET` and `DELETE /query/{id}`, and `GET /query/{id}/events`: what became of a question that was accepted.

Of an operation that has ended the reply is what the request itself would have got: the answer, or its problem.
"""

import json
from typing import Any

from lib.answers.operation import Operation
from lib.errors import GatewayError, NotFound, Unavailable
from lib.gateway import Gateway
from lib.identity.principal import Principal
from lib.replies import CSV, answer_body, answer_reply, operation_reply, operation_status
from lib.web.accept import acceptable
from lib.web.bodies import JSON
from lib.web.prefer import preference
from lib.web.problems import problem
from lib.web.request import Request
from lib.web.response import Response, empty, json_response

EVENT_SECONDS = 25
"""How long a reply with events waits for something new: shorter than proxies cut, long enough to cost little."""
RECONNECT_MS = 1_000
AWAY_MS = 5_000
END = "end"


async def show(gateway: Gateway, request: Request) -> Response:
    """The state of an operation, or what came of it; with `Prefer: wait=N` once it has ended, or N seconds later."""
    media_types = acceptable(request.header("accept"), (JSON, CSV))
    preferred = preference(request.header("prefer"), longest=gateway.settings.query_deadline_seconds)
    principal = await gateway.authenticate(request)
    operation = await gateway.operation(principal, request.params["id"])
    applied: tuple[tuple[str, str], ...] = ()
    if preferred:
        operation = await gateway.wait(principal, operation, preferred.wait, lambda now: now.is_final)
        applied = (("Preference-Applied", preferred.applied),)
    if not operation.is_final:
        return operation_reply(operation, gateway.tables.clock.now(), applied)
    given = await _answer(gateway, principal, operation)
    return (await answer_reply(media_types, given, _around(operation))).with_headers(applied)


async def cancel(gateway: Gateway, request: Request) -> Response:
    """Gives a question up; what has ended stays as it is."""
    principal = await gateway.authenticate(request)
    operation = await gateway.cancel(principal, request.params["id"])
    return json_response(operation_status(operation))


async def events(gateway: Gateway, request: Request) -> Response:
    """What happens to an operation, as an event stream that a browser's `EventSource` reads and comes back for.

    Each reply ends after one event: the source reconnects and says which was its last. After the final event it is
    told 204, which ends it (https://html.spec.whatwg.org/multipage/server-sent-events.html).
    """
    principal = await gateway.authenticate(request)
    last = request.header("last-event-id")
    if last == END:
        return empty()
    try:
        operation = await gateway.operation(principal, request.params["id"])
        if last:
            operation = await gateway.wait(principal, operation, EVENT_SECONDS, lambda now: now.state != last)
        if not operation.is_final:
            return _event(operation.state, "progress", operation_status(operation))
        given = await _answer(gateway, principal, operation)
    except NotFound:
        raise
    except Unavailable:  # any other status than 200 would end the source for good
        return _stream(f"retry: {AWAY_MS}\n\n".encode())
    except GatewayError as fault:
        return _problem_event(fault, request, gateway)
    return _event(END, "answer", answer_body(given, _around(operation)))


async def _answer(gateway: Gateway, principal: Principal, operation: Operation) -> Any:
    try:
        return await gateway.answer(principal, operation)
    except GatewayError as fault:
        fault.members["operation"] = operation_status(operation)
        raise


def _around(operation: Operation) -> dict[str, Any]:
    return {"id": operation.id, "agent": operation.agent, "conversation_id": operation.conversation or None}


def _problem_event(fault: GatewayError, request: Request, gateway: Gateway) -> Response:
    return _event(END, "problem", problem(fault, request.trace_id, gateway.site.authorization_uri).body)


def _event(event_id: str, name: str, data: bytes | dict[str, Any]) -> Response:
    """One event. JSON has no line ends of its own, so it is one line of data."""
    text = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    head = f"retry: {RECONNECT_MS}\nid: {event_id}\nevent: {name}\ndata: "
    return _stream(head.encode() + text + b"\n\n")


def _stream(body: bytes) -> Response:
    return Response(200, body, (("Content-Type", "text/event-stream; charset=utf-8"),))
