"""The step between the host's types and ours, as the runtime takes it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import azure.functions as func
import pytest
from azure.functions.http import HttpResponseConverter
from hypothesis import given
from hypothesis import strategies as st

import function_app
from lib.answers.by_queue import QUEUE
from lib.web.cookies import set_cookie
from lib.web.response import json_response
from lib.web.serve import SECURITY_HEADERS

if TYPE_CHECKING:
    from http.cookies import SimpleCookie


TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def trace_id(traceparent: str | None) -> str:
    """The trace id of a request that came with this `traceparent`."""
    context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=traceparent))
    request = func.HttpRequest("GET", "https://x.example/api/health", body=b"")
    return function_app._request(request, cast("func.Context", context), "health").trace_id


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE_ID}-{PARENT_ID}-00",
        f"00-{TRACE_ID}-{PARENT_ID}-01",
        f"01-{TRACE_ID}-{PARENT_ID}-ff",
        f"cc-{TRACE_ID}-{PARENT_ID}-01-what the future brings",
    ],
)
def test_a_callers_trace_goes_on(traceparent: str) -> None:
    """Of a later version what is known of it counts (W3C Trace Context, section 3.2.4)."""
    assert trace_id(traceparent) == TRACE_ID


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        TRACE_ID,
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID.upper()}-01",
        f"00-{TRACE_ID}-{PARENT_ID}-1",
        f"00-{TRACE_ID}-{PARENT_ID}-0A",
        f"00-{TRACE_ID}-{PARENT_ID}-01-more",
        f"00-{TRACE_ID}-{PARENT_ID}-01-",
        f"01-{TRACE_ID}-{PARENT_ID}-01more",
        f"01-{TRACE_ID}-{PARENT_ID}-01-a\nb",
        f"00-{TRACE_ID}-{PARENT_ID}-01\n",
        f" 00-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{TRACE_ID[:-1]}٣-{PARENT_ID}-01",
        f"00-{TRACE_ID}x-{PARENT_ID}-01",
    ],
    ids=ascii,
)
def test_a_trace_that_breaks_the_standard_is_not_gone_on_with(traceparent: str | None) -> None:
    """Then the request begins a trace of its own (W3C Trace Context, section 3.2)."""
    found = trace_id(traceparent)
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found not in {TRACE_ID, "0" * 32}


@given(st.text() | st.from_regex("[0-9a-fA-F]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?", fullmatch=True))
def test_a_trace_id_is_32_hex_digits_whatever_comes(traceparent: str) -> None:
    """It goes into headers and logs as it is."""
    found = trace_id(traceparent)
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found != "0" * 32


def test_cookies_leave_as_the_runtime_wants_them_and_without_a_domain() -> None:
    """An empty domain would be filled in by Azure's front end, and browsers refuse a `__Host-` cookie with one."""
    pairs = [set_cookie(f"__Host-{name}", "x", same_site="Strict", max_age_seconds=60) for name in ("a", "b")]
    response = function_app._http_response(json_response({}, headers=tuple(pairs)))
    encoded = HttpResponseConverter.encode(response, expected_type=None).value
    cookies: list[SimpleCookie] = encoded["cookies"]
    assert [list(cookie) for cookie in cookies] == [["__Host-a"], ["__Host-b"]]
    assert all(morsel["domain"] is None for cookie in cookies for morsel in cookie.values())
    assert all(morsel["secure"] and morsel["httponly"] for cookie in cookies for morsel in cookie.values())


def test_other_headers_are_plain_texts() -> None:
    """Only `Set-Cookie` is more than its text."""
    response = function_app._http_response(json_response({}, 201, headers=(("Vary", "Origin"), ("Vary", "Cookie"))))
    assert response.headers.get_all("Vary") == ["Origin", "Cookie"]
    assert response.status_code == 201
    assert response.get_body() == b"{}"


def test_what_takes_all_other_paths_is_tried_last() -> None:
    """The host tries routes in the order of the functions' names."""
    routed = [
        str(function.get_function_name()).lower()
        for function in function_app.app.get_functions()
        if getattr(function.get_trigger(), "type", "") == "httpTrigger"
    ]
    assert len(routed) > 10
    assert max(routed) == "unmatched"


def test_every_function_takes_every_method_and_asks_for_no_key() -> None:
    """A method that the host refuses would be a bare 404, without our headers; who may come in is ours to say."""
    for function in function_app.app._function_builders:
        trigger = function._function.get_trigger()
        if trigger is None or trigger.type != "httpTrigger":
            continue
        binding = trigger.get_dict_repr()
        assert not binding.get("methods")
        assert binding["authLevel"] == func.AuthLevel.ANONYMOUS


def test_questions_are_taken_from_where_they_are_left() -> None:
    """The queue's name, and the connection that Azure Functions reads from the settings of ours."""
    triggers = [function._function.get_trigger() for function in function_app.app._function_builders]
    (queue,) = [trigger.get_dict_repr() for trigger in triggers if trigger and trigger.type == "queueTrigger"]
    assert (queue["queueName"], queue["connection"]) == (QUEUE, "STATE_STORAGE")


def test_what_the_host_answers_by_itself_has_our_security_headers() -> None:
    """A 404 or a 500 of the host never reaches our code; host.json gives it the same headers."""
    host = json.loads((Path(__file__).parent.parent / "host.json").read_text(encoding="utf-8"))
    options = host["extensions"]["http"]
    ours = dict(SECURITY_HEADERS)
    assert options["customHeaders"].items() <= ours.items()
    assert ours.keys() - options["customHeaders"].keys() == {"Strict-Transport-Security", "Vary"}
    assert options["hsts"] == {"isEnabled": True, "maxAge": "365", "includeSubDomains": True}


def test_a_request_is_told_by_the_route_it_came_by() -> None:
    """The template that the host knows is the one that spans and numbers have."""
    source = (Path(__file__).parent.parent / "function_app.py").read_text(encoding="utf-8")
    pairs = re.findall(r'@app\.route\("([^"]+)"\)\n.*?_served\(\s*req, context, "([^"]+)"', source, flags=re.DOTALL)
    assert len(pairs) == source.count("@app.route(") == source.count("await _served(")
    assert [told for route, told in pairs if told != route] == []


def test_a_request_keeps_the_hosts_span() -> None:
    """Below which its own lies; a trace that breaks the standard has none."""
    context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=f"00-{TRACE_ID}-{PARENT_ID}-00"))
    request = func.HttpRequest("GET", "https://x.example/api/query/1", body=b"")
    taken = function_app._request(request, cast("func.Context", context), "query/{id}")
    assert (taken.trace_id, taken.parent_id, taken.route) == (TRACE_ID, PARENT_ID, "query/{id}")
    context.trace_context.trace_parent = f"00-{TRACE_ID}-{PARENT_ID}-0"
    assert function_app._request(request, cast("func.Context", context), "health").parent_id == ""
