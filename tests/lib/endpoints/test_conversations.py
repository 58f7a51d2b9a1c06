"""The endpoints of conversations, in a gateway of real parts on Azurite and an emulated vault."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from lib.endpoints import conversations
from lib.gateway import Gateway
from lib.identity.auth import principal_of_session
from lib.identity.principal import Principal
from lib.identity.sessions import SignedIn
from lib.storage.key_vault import KeyVault
from lib.storage.tables import Tables
from lib.web.request import Request
from lib.web.response import Response
from lib.web.serve import Handler, serve
from tests.lib.test_settings import PRODUCTION

pytestmark = pytest.mark.stack

PAGE = {"x-csrf": "1", "origin": PRODUCTION["PUBLIC_BASE_URL"]}
ALL: Mapping[str, Handler[Gateway]] = {"GET": conversations.listed}
ONE: Mapping[str, Handler[Gateway]] = {"GET": conversations.show, "DELETE": conversations.delete}


@pytest.fixture
def gateway(key_vault_client: KeyVault, tables: Tables) -> Gateway:
    """A gateway whose Azure is the local one."""
    gateway = Gateway(PRODUCTION)
    gateway.key_vault, gateway.tables = key_vault_client, tables
    return gateway


class Client:
    """Somebody with a session."""

    def __init__(self, gateway: Gateway, cookie: str, principal: Principal) -> None:
        self._gateway = gateway
        self._headers = PAGE | {"cookie": f"__Host-session={cookie}"}
        self.principal = principal

    async def call(self, method: str, conversation_id: str | None = None, **without: None) -> Response:
        """One request of a page, without some of its headers."""
        headers = {name: value for name, value in self._headers.items() if name.replace("-", "_") not in without}
        params, handlers = ({}, ALL) if conversation_id is None else ({"id": conversation_id}, ONE)
        request = Request(method, headers, params=params, trace_id="0" * 32)
        return await serve(self._gateway, request, "conversations", handlers, self._gateway.site)

    async def read(self, conversation_id: str | None = None) -> Any:
        """What a page reads."""
        reply = await self.call("GET", conversation_id)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)


async def signed_in(gateway: Gateway) -> Client:
    """A new person in a browser."""
    cookie, session = await gateway.sessions.open(SignedIn(str(uuid.uuid4()), str(uuid.uuid4()), refresh_token="r"))
    return Client(gateway, cookie, principal_of_session(session, gateway.sessions))


@pytest.fixture
async def alice(gateway: Gateway) -> Client:
    """The owner."""
    return await signed_in(gateway)


@pytest.fixture
async def bob(gateway: Gateway) -> Client:
    """Somebody else."""
    return await signed_in(gateway)


async def conversation_of(gateway: Gateway, client: Client) -> str:
    """The id of a conversation with one question and its answer."""
    begun = await gateway.conversations.begin(client.principal, "sales")
    return (await gateway.conversations.append(begun, "total sales", "1200")).id


async def test_a_person_lists_and_reads_their_conversations(gateway: Gateway, alice: Client) -> None:
    """The list says how many turns, the conversation what they are; times are UTC."""
    assert await alice.read() == {"conversations": []}
    conversation_id = await conversation_of(gateway, alice)
    read = await alice.read(conversation_id)
    turns = [{"role": "user", "content": "total sales"}, {"role": "assistant", "content": "1200"}]
    assert read == {
        "id": conversation_id,
        "agent": "sales",
        "created": read["created"],
        "updated": read["updated"],
        "turns": turns,
    }
    assert read["created"].endswith("+00:00")
    assert read["created"] <= read["updated"]
    del read["turns"]
    assert await alice.read() == {"conversations": [read | {"turn_count": 2}]}


async def test_somebody_elses_is_told_as_one_that_never_was(gateway: Gateway, alice: Client, bob: Client) -> None:
    """The same bytes, whatever the id."""
    hers = await conversation_of(gateway, alice)
    replies = [await bob.call("GET", wanted) for wanted in (hers, "0" * 32, "x", "\u202e")]
    assert {reply.status for reply in replies} == {404}
    assert {reply.body for reply in replies} == {replies[0].body}
    assert json.loads(replies[0].body)["code"] == "not_found"
    assert await bob.read() == {"conversations": []}


async def test_a_conversation_is_deleted_by_its_owner_alone(gateway: Gateway, alice: Client, bob: Client) -> None:
    """Everybody is told the same, and the owner twice."""
    hers = await conversation_of(gateway, alice)
    for client, wanted in ((bob, hers), (bob, "x")):
        assert (await client.call("DELETE", wanted)).status == 204
    await alice.read(hers)
    for _ in range(2):
        reply = await alice.call("DELETE", hers)
        assert (reply.status, reply.body) == (204, b"")
    assert (await alice.call("GET", hers)).status == 404
    assert await alice.read() == {"conversations": []}


async def test_another_page_deletes_nothing(gateway: Gateway, alice: Client) -> None:
    """A change by cookie needs the header and the origin."""
    hers = await conversation_of(gateway, alice)
    for without, code in (("x_csrf", "csrf_rejected"), ("origin", "origin_rejected")):
        reply = await alice.call("DELETE", hers, **{without: None})
        assert (reply.status, json.loads(reply.body)["code"]) == (403, code)
    await alice.read(hers)


async def test_who_is_not_signed_in_learns_nothing(gateway: Gateway, alice: Client) -> None:
    """Not even whether there is one; after the session has ended neither."""
    hers = await conversation_of(gateway, alice)
    for method, wanted in (("GET", None), ("GET", hers), ("DELETE", hers)):
        reply = await alice.call(method, wanted, cookie=None)
        assert (reply.status, json.loads(reply.body)["code"]) == (401, "token_missing")
    await gateway.sessions.end_all(alice.principal.tenant_id, alice.principal.object_id)
    assert (await alice.call("GET", hers)).status == 401
