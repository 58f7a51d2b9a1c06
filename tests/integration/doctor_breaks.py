"""How things that the gateway depends on are broken for the doctor, and the line that has to tell of it."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from azure.storage.queue import QueueClient
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from local.entra.errors import Refused
from local.fabric import SALES_AGENT
from local.fabric.agents import Agent
from local.people import ALICE
from local.stack import QUEUE, Stack
from tests.integration.callers import token_of

_BEHIND_THE_DOOR = ("notifications/initialized", "tools/list")
MANY = 12
"""More requests than an examination makes of one endpoint."""

type Break = Callable[[Stack], Any]
"""Breaks something, as a context manager that mends it."""


@dataclass(frozen=True)
class Case:
    """How something is broken, and the line that has to tell of it."""

    name: str
    """Of the finding."""
    cause: str
    cure: str
    detail: str = ""
    settings: Callable[[Stack], Mapping[str, str]] = field(default=lambda _stack: {})
    broken: Break = field(default=lambda _stack: ExitStack())
    token: Callable[[Stack], str] | None = None


def replies(choose: Callable[[Stack], Any], endpoint: str, *planned: ASGIApp) -> Break:
    """Requests of one endpoint meet this, as often as they like; what `choose` finds has the faults."""

    @contextmanager
    def broken(stack: Stack) -> Iterator[None]:
        peer = choose(stack).faults
        peer.plan(endpoint, *planned * (MANY if len(planned) == 1 else 1))
        try:
            yield
        finally:
            peer.clear()

    return broken


vault_replies = partial(replies, lambda stack: stack.key_vault)
entra_replies = partial(replies, lambda stack: stack.entra)


def refused_by_entra(number: int) -> Break:
    """The token endpoint refuses everything by that number."""
    return entra_replies("token", Refused(number).reply())


def vault_error(status: int, code: str, inner: str = "") -> Response:
    """An error as Key Vault tells it."""
    return JSONResponse({"error": {"code": code, "message": "No.", "innererror": {"code": inner or code}}}, status)


def agent_replies(*planned: ASGIApp, method: str | None = None) -> Break:
    """The agent meets this, behind the front door: the probe without a token comes in as usual."""

    @contextmanager
    def broken(stack: Stack) -> Iterator[None]:
        peer = stack.fabric.faults_at[SALES_AGENT.object_id]
        for each in [method] if method else _BEHIND_THE_DOOR:
            peer.plan(each, *planned * MANY)
        try:
            yield
        finally:
            peer.clear()

    return broken


def agent_is(change: Callable[[Agent], Agent]) -> Break:
    """Another agent in its place."""

    @contextmanager
    def broken(stack: Stack) -> Iterator[None]:
        before = stack.fabric.agents[SALES_AGENT.object_id]
        stack.fabric.agents[SALES_AGENT.object_id] = change(before)
        try:
            yield
        finally:
            stack.fabric.agents[SALES_AGENT.object_id] = before

    return broken


def secret_is(name: str, *values: str, age: float = 3600) -> Break:
    """The vault has these versions of a secret, and no others."""

    @contextmanager
    def broken(stack: Stack) -> Iterator[None]:
        before = stack.vault.remove(name)
        for value in values:
            stack.vault.put(name, value, created=time.time() - age)
        try:
            yield
        finally:
            stack.vault.restore(before)

    return broken


def secret_ends(name: str, seconds: float) -> Break:
    """The secret is good, and its owner has noted that it ends so soon."""

    @contextmanager
    def broken(stack: Stack) -> Iterator[None]:
        before = stack.vault.remove(name)
        stack.vault.put(name, before[-1].value, expires=int(time.time() + seconds))
        try:
            yield
        finally:
            stack.vault.restore(before)

    return broken


def secret_is_disabled(name: str) -> Break:
    """The only version of a secret is disabled."""

    @contextmanager
    def broken(stack: Stack) -> Iterator[None]:
        versions = stack.vault.versions(name)
        for secret in versions:
            stack.vault.disable(name, secret.version)
        try:
            yield
        finally:
            stack.vault.restore(versions)

    return broken


@contextmanager
def no_queue(stack: Stack) -> Iterator[None]:
    """Somebody has deleted the queue."""
    with QueueClient.from_connection_string(stack.azurite.connection_string, QUEUE) as queue:
        queue.delete_queue()
        try:
            yield
        finally:
            queue.create_queue()


def identity_replies(status: int) -> Break:
    """The managed identity's endpoint refuses."""
    return replies(lambda stack: stack.managed_identity, "token", JSONResponse({"message": "No."}, status))


def storage_at(table: str = "", queue: str = "") -> Callable[[Stack], Mapping[str, str]]:
    """The settings of a gateway whose tables or queues are somewhere else."""

    def settings(stack: Stack) -> Mapping[str, str]:
        account = stack.azurite.connection_string.partition("TableEndpoint=")[0]
        tables, queues = table or stack.azurite.table_url, queue or stack.azurite.queue_url
        return {"STATE_STORAGE": f"{account}TableEndpoint={tables};QueueEndpoint={queues}"}

    return settings


def with_agent(**described: Any) -> Callable[[Stack], Mapping[str, str]]:
    """The settings of a gateway whose one agent is described so."""

    def settings(stack: Stack) -> Mapping[str, str]:
        agent = {"url": stack.urls["fabric"] + SALES_AGENT.path} | described
        return {"DATA_AGENTS": json.dumps({"sales": agent})}

    return settings


def set_to(**settings: str) -> Callable[[Stack], Mapping[str, str]]:
    """These settings."""
    return lambda _stack: settings


def claiming(**claims: Any) -> Callable[[Stack], str]:
    """A token that Entra has signed and that says this besides."""

    def token(stack: Stack) -> str:
        claimed = stack.issuer.verify(token_of(stack, ALICE), stack.environment["CLIENT_ID"])
        return stack.issuer.sign({**claimed, **claims})

    return token


def storage_error(code: str) -> Response:
    """An error as Storage tells it: Tables in JSON, Queues in a header."""
    return JSONResponse({"odata.error": {"code": code}}, 403, {"x-ms-error-code": code})
