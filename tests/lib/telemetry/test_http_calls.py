"""Rules for HTTP calls as they are told."""

from contextlib import suppress

import pytest

from lib.errors import DeadlineExceeded
from lib.telemetry import metrics
from lib.telemetry.http_calls import http_call
from tests.lib.telemetry.heard import hearing


def test_a_call_is_a_span_and_a_number() -> None:
    """The peer stands in the place of its address; what else the span is given is no attribute of the number."""
    with hearing() as heard:
        with http_call("fabric", "POST", {"mcp.method.name": "tools/call"}) as call:
            call.status = 200
        (told,) = heard.spans
        assert (told.name, told.kind, told.failed) == ("POST fabric", "client", "")
        number = {"peer": "fabric", "http.request.method": "POST", "http.response.status_code": 200}
        assert told.facts == {"mcp.method.name": "tools/call", **number}
        assert heard.of(metrics.HTTP_CALLS) == [number]


def test_a_refusing_reply_has_failed_by_its_status() -> None:
    """As the conventions have it for clients."""
    with hearing() as heard:
        with http_call("entra", "POST") as call:
            call.status = 400
        assert heard.spans[0].failed == "400"
        assert heard.of(metrics.HTTP_CALLS)[0]["error.type"] == "400"


@pytest.mark.parametrize("status", [0, 500])
def test_a_call_that_broke_has_failed_by_what_it_met(status: int) -> None:
    """Which says more than the status that had come before."""
    with hearing() as heard:
        with suppress(DeadlineExceeded), http_call("graph", "GET") as call:
            call.status = status
            raise DeadlineExceeded
        assert heard.spans[0].failed == "deadline_exceeded"
        (number,) = heard.of(metrics.HTTP_CALLS)
        assert number["error.type"] == "deadline_exceeded"
        assert number.get("http.response.status_code", 0) == status
