"""The Azure Functions app: one function per path, and nothing but the step between the host's types and ours.

Every function is anonymous and takes every method, since the gateway itself decides who may come in and answers
wrong methods and preflights properly. The host tries routes in the order of the functions' names, so `unmatched`,
which takes what is left, has to sort last.
"""

import os
import secrets
from collections.abc import Mapping
from functools import partial
from http.cookies import SimpleCookie
from typing import Any

import azure.functions as func
from werkzeug.datastructures import Headers

from lib import triggers
from lib.answers.by_queue import QUEUE, traceparent_of
from lib.endpoints import agents, conversations, health, login, operations, query, session
from lib.endpoints import app as web_app
from lib.endpoints.unmatched import METHODS, not_found
from lib.gateway import Gateway
from lib.telemetry.traces import read_traceparent
from lib.web.request import Request
from lib.web.response import Response
from lib.web.serve import Handler, serve

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
gateway = Gateway(os.environ)


@app.route("agents")
async def agents_list(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The data agents the caller may ask."""
    return await _served(req, context, "agents", {"GET": agents.listed})


@app.route("app/{file?}")
async def app_file(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The web client."""
    return await _served(req, context, "app/{file?}", {"GET": web_app.serve_file})


@app.route("conversations")
async def conversations_list(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The caller's conversations."""
    return await _served(req, context, "conversations", {"GET": conversations.listed})


@app.route("conversations/{id}")
async def conversations_one(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """One of the caller's conversations."""
    return await _served(
        req, context, "conversations/{id}", {"GET": conversations.show, "DELETE": conversations.delete}
    )


@app.route("health")
async def health_alive(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """That the app is alive."""
    return await _served(req, context, "health", {"GET": health.alive})


@app.route("health/ready")
async def health_ready(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Whether the app can serve."""
    return await _served(req, context, "health/ready", {"GET": health.ready})


@app.route("login")
async def login_begin(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Sign-in by redirect, or by access token."""
    return await _served(req, context, "login", {"GET": login.begin, "POST": login.exchange})


@app.route("login/callback")
async def login_callback(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Where Entra posts the outcome of a sign-in."""
    return await _served(req, context, "login/callback", {"POST": login.callback})


@app.route("logout")
async def logout(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The end of a session."""
    return await _served(req, context, "logout", {"POST": session.logout})


@app.route("logout/frontchannel")
async def logout_frontchannel(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Where Entra tells that a sign-in has ended."""
    return await _served(req, context, "logout/frontchannel", {"GET": session.front_channel})


@app.route("query")
async def query_ask(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """A question for a data agent."""
    return await _served(req, context, "query", {"POST": query.ask})


@app.route("query/{id}")
async def query_operation(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """What became of a question that was accepted."""
    return await _served(req, context, "query/{id}", {"GET": operations.show, "DELETE": operations.cancel})


@app.route("query/{id}/events")
async def query_operation_events(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The same as events, for a browser's `EventSource`."""
    return await _served(req, context, "query/{id}/events", {"GET": operations.events})


@app.queue_trigger(arg_name="message", queue_name=QUEUE, connection="STATE_STORAGE")
async def run_question(message: func.QueueMessage) -> None:
    """Asks a question that a request has left for later."""
    body = message.get_body()
    await triggers.run("run_question", partial(gateway.run_message, body), gateway.exporting, traceparent_of(body))


@app.route("session")
async def session_show(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Who the caller is."""
    return await _served(req, context, "session", {"GET": session.show})


@app.route("sessions")
async def sessions_revoke(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """The end of all sessions and of all tokens issued before now."""
    return await _served(req, context, "sessions", {"DELETE": session.revoke})


@app.timer_trigger(schedule="0 */15 * * * *", arg_name="timer", use_monitor=True)
async def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001  # the host passes it by name
    """Removes expired rows from Table Storage every 15 minutes."""
    await triggers.run("sweep", gateway.sweep, gateway.exporting)


@app.timer_trigger(schedule="30 */5 * * * *", arg_name="timer", use_monitor=True)
async def warm(timer: func.TimerRequest) -> None:  # noqa: ARG001  # the host passes it by name
    """Keeps what the instances share of agents warm, every 5 minutes."""
    await triggers.run("warm", gateway.warm, gateway.exporting)


@app.route("{*path}")
async def unmatched(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Every other path: a problem, with the headers that all replies carry."""
    return await _served(req, context, "{*path}", dict.fromkeys(METHODS, not_found))


async def _served(
    req: func.HttpRequest, context: func.Context, route: str, handlers: Mapping[str, Handler[Gateway]]
) -> func.HttpResponse:
    response = await serve(gateway, _request(req, context, route), context.function_name, handlers, gateway.site)
    gateway.prefetch.soon(then=gateway.exporting.soon)
    return _http_response(response)


def _request(req: func.HttpRequest, context: func.Context, route: str) -> Request:
    trace_id, parent_id = read_traceparent(context.trace_context.trace_parent or "")
    return Request(
        method=req.method.upper(),
        headers={name.lower(): value for name, value in req.headers.items()},
        query=dict(req.params),
        params=dict(req.route_params),
        body=req.get_body(),
        trace_id=trace_id or secrets.token_hex(16),
        parent_id=parent_id,
        route=route,
    )


def _http_response(response: Response) -> func.HttpResponse:
    """A new host response each time: the runtime takes the cookies out of the one it is given."""
    result = _HostOnlyCookies(response.body, status_code=response.status)
    for name, value in response.headers:
        result.headers.add(name, value)
    return result


class _HostOnlyCookies(func.HttpResponse):
    """A host response whose cookies have no domain.

    The runtime hands an absent domain on as an empty one, which Azure's front end fills in, and browsers then refuse
    a `__Host-` cookie (https://github.com/Azure/azure-functions-python-worker/issues/1902). It leaves cookies that
    are parsed already as they are, so they are parsed here, with a domain that is None.
    """

    def __init__(self, body: bytes, *, status_code: int) -> None:
        super().__init__(body, status_code=status_code)
        self._headers = _Headers()

    @property
    def headers(self) -> "_Headers":
        """The headers; `Set-Cookie` may come more than once."""
        return self._headers


class _Headers(Headers):
    def get_all(self, name: str) -> list[Any]:
        """All values of a header, those of `Set-Cookie` as the cookies they are."""
        values = super().get_all(name)
        if name != "Set-Cookie":
            return values
        cookies = [SimpleCookie(value) for value in values]
        for morsel in (morsel for cookie in cookies for morsel in cookie.values()):
            morsel["domain"] = None
        return cookies
