"""Several tenants: each person comes with their own tenant's token, asks under it, and meets nobody of another."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from azure.data.tables import TableServiceClient
from starlette.responses import JSONResponse

from local import fabric
from local.entra import Entra, tokens
from local.entra.grants import access_token
from local.entra.tenant import GATEWAY_SCOPE, Access
from local.fabric import SALES_AGENT, Fabric
from local.issuer import Issuer
from local.people import ALICE, BOB, GATEWAY_CLIENT_ID, PARTNER_TENANT_ID, SCRIPT_CLIENT_ID, TENANT_ID, Person
from local.serving import Server
from local.stack import FABRIC_AUDIENCE, Host, Stack, free_port

STRANGER_ID = "0c7d1e2f-3a4b-4c5d-8e6f-708192a3b00a"
PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"
ON_BEHALF_OF = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TWINS = {
    person.key: replace(person, name=f"{person.name} of Fabrikam", username=f"{person.key}@fabrikam.example")
    for person in (ALICE, BOB)
}
"""People of the partner with the object ids of people here."""


@dataclass
class Tenants:
    """A gateway for the stack's tenant and a partner, a third tenant nearby, and a Fabric that notes its callers."""

    url: str
    stack: Stack
    home: Entra
    partner: Entra
    stranger: Entra
    issuers: Mapping[str, str]
    misplaced: Mapping[str, Issuer]
    """Keys that the partner publishes as those of other `issuers`."""
    upstream: list[Mapping[str, Any]] = field(default_factory=list)
    """The claims of every token that Fabric was shown."""

    def token(self, tenant: Entra, person: Person) -> str:
        """A person's token for the gateway, as that tenant issues it."""
        access = Access(GATEWAY_CLIENT_ID, (GATEWAY_SCOPE,))
        return access_token(tenant, SCRIPT_CLIENT_ID, tokens.PUBLIC, person, str(uuid.uuid4()), access)

    def call(self, method: str, path: str, token: str = "", cookie: str = "", **options: Any) -> httpx.Response:
        """One request, by token or by cookie."""
        headers = {"Authorization": f"Bearer {token}"} if token else {"Cookie": f"__Host-session={cookie}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, trust_env=False, **options)

    def ask(self, token: str, question: str) -> httpx.Response:
        """One question."""
        return self.call("POST", "/api/query", token, json={"question": question})

    def claims_of(self, token: str) -> Mapping[str, Any]:
        """What Fabric reads in a token of either tenant; raises ValueError for any other."""
        for tenant in (self.home, self.partner):
            try:
                claims = tenant.issuer.verify(token, FABRIC_AUDIENCE)
            except ValueError:
                continue
            self.upstream.append(claims)
            return claims
        raise ValueError("neither tenant's")


@pytest.fixture(scope="module")
def tenants(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """The gateway of two tenants, which lets guests in."""
    home, base_url = stack.entra, stack.issuer.base_url
    partner, stranger = (
        Entra(Issuer(base_url, stack.folder, tenant_id=tenant_id), home.registrations, people=TWINS, home=home.issuer)
        for tenant_id in (PARTNER_TENANT_ID, STRANGER_ID)
    )
    issuers = {
        "home": home.issuer.url,
        "personal": f"{base_url}/{PERSONAL}/v2.0",
        "any": f"{base_url}/{{tenantid}}/v2.0",
    }
    misplaced = {name: Issuer(base_url, tenant_id=PARTNER_TENANT_ID) for name in issuers}
    with ExitStack() as running:
        log = running.enter_context((tmp_path_factory.mktemp("host") / "log").open("wb"))
        server = Server(certificates=stack.certificates)
        made = Tenants("", stack, home, partner, stranger, issuers, misplaced)
        server.app = fabric.build(Fabric(), claims_of=made.claims_of, delay_seconds=0)
        running.enter_context(server)
        home.partners.update({PARTNER_TENANT_ID: partner, STRANGER_ID: stranger})
        running.callback(home.partners.clear)
        published = [key.jwks()["keys"][0] | {"issuer": issuers[name]} for name, key in misplaced.items()]
        partner.faults.plan("keys", JSONResponse({"keys": partner.issuer.jwks()["keys"] + published}))
        settings = {
            "ALLOWED_TENANTS": f"{TENANT_ID},{PARTNER_TENANT_ID}",
            "GUESTS": "allow",
            "DATA_AGENTS": json.dumps({"sales": {"url": server.url + SALES_AGENT.path}}),
        }
        host = Host(free_port(), stack.environment | settings, log)
        running.callback(host.stop)
        made.url = host.url
        yield made


def test_each_person_asks_with_their_own_tenants_token(tenants: Tenants) -> None:
    """The exchange is made at their tenant, by the same managed identity; Fabric sees who they are there."""
    for tenant, person in ((tenants.home, ALICE), (tenants.partner, TWINS["alice"]), (tenants.home, BOB)):
        exchanged = {any_tenant.issuer.url: any_tenant.calls[ON_BEHALF_OF] for any_tenant in _both(tenants)}
        tenants.upstream.clear()
        reply = tenants.ask(tenants.token(tenant, person), "total sales by month")
        assert reply.status_code == 200, reply.text
        assert not reply.json()["cached"]["hit"]
        assert tenants.upstream
        for claims in tenants.upstream:
            assert (claims["tid"], claims["oid"]) == (tenant.issuer.tenant_id, person.object_id)
            assert claims["preferred_username"] == person.username
        for any_tenant in _both(tenants):
            expected = exchanged[any_tenant.issuer.url] + (any_tenant is tenant)
            assert any_tenant.calls[ON_BEHALF_OF] == expected


def test_an_answer_that_is_kept_is_given_in_its_own_tenant_alone(tenants: Tenants) -> None:
    """The same object id with the same question is somebody else in another tenant."""
    question = f"total sales by region {uuid.uuid4()}"
    home, twin = tenants.token(tenants.home, ALICE), tenants.token(tenants.partner, TWINS["alice"])
    hits = [tenants.ask(token, question).json()["cached"]["hit"] for token in (home, twin, home, twin)]
    assert hits == [False, False, True, True]


def test_a_tenant_that_is_not_on_the_list_is_refused_unheard(tenants: Tenants) -> None:
    """401, though its keys are the same and its token is good: nobody asks that tenant anything."""
    token = tenants.token(tenants.stranger, TWINS["alice"])
    _refused(tenants, token)
    assert tenants.stranger.calls == Counter()


@pytest.mark.parametrize("changed", ["iss", "tid"])
@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_token_is_of_one_tenant_alone(tenants: Tenants, changed: str, direction: str) -> None:
    """Both are allowed and sign with the same key: a token that names the one here and the other there is nobody's."""
    one, other = _both(tenants) if direction == "there" else reversed(_both(tenants))
    values = {"iss": other.issuer.url, "tid": other.issuer.tenant_id}
    _refused(tenants, one.issuer.sign(_claims(one, ALICE) | {changed: values[changed]}))
    assert _session(tenants, one.issuer.sign(_claims(one, ALICE))).status_code == 200


@pytest.mark.parametrize("issuer", ["home", "personal"])
def test_a_key_signs_for_its_own_issuer_alone(tenants: Tenants, issuer: str) -> None:
    """The partner publishes it, and it is still another tenant's: for the partner's people it says nothing."""
    key, claims = tenants.misplaced[issuer], _claims(tenants.partner, TWINS["bob"])
    _refused(tenants, key.sign(claims))
    _refused(tenants, key.sign(claims | {"iss": tenants.issuers[issuer]}))


def test_a_key_of_every_tenant_signs_for_the_one_that_publishes_it(tenants: Tenants) -> None:
    """Its issuer stands for any tenant; yet the tenant of the stack does not publish it."""
    key = tenants.misplaced["any"]
    assert _session(tenants, key.sign(_claims(tenants.partner, TWINS["bob"]))).status_code == 200
    _refused(tenants, key.sign(_claims(tenants.home, BOB)))


def test_sessions_and_revocations_of_the_same_object_id_never_meet(tenants: Tenants) -> None:
    """Who ends all that is theirs ends nothing of their double."""
    home, twin = tenants.token(tenants.home, BOB), tenants.token(tenants.partner, TWINS["bob"])
    cookies = [tenants.call("POST", "/api/login", token).cookies["__Host-session"] for token in (home, twin)]
    names = [tenants.call("GET", "/api/session", cookie=cookie).json()["name"] for cookie in cookies]
    assert names == [BOB.name, TWINS["bob"].name]
    ours, theirs = (cookie.partition(".")[0] for cookie in cookies)
    assert ours != theirs
    before = _sessions(tenants, ours)
    assert before
    assert tenants.call("DELETE", "/api/sessions", twin).status_code == 204
    assert (_sessions(tenants, ours), _sessions(tenants, theirs)) == (before, set())
    assert _session(tenants, home).status_code == 200
    assert tenants.call("GET", "/api/session", cookie=cookies[0]).json()["tenant_id"] == TENANT_ID
    assert _session(tenants, twin).json()["code"] == "reauth_required"
    assert tenants.call("GET", "/api/session", cookie=cookies[1]).json()["code"] == "session_expired"


def test_another_tenants_administrators_make_no_operators(tenants: Tenants) -> None:
    """They give its people roles as they like; the gateway is operated from its own tenant."""
    roles = {"roles": ["Gateway.Operate"]}
    theirs = tenants.partner.issuer.sign(_claims(tenants.partner, TWINS["alice"]) | roles)
    ours = tenants.home.issuer.sign(_claims(tenants.home, ALICE) | roles)
    for method, path in (("DELETE", f"/api/sessions?tenant={TENANT_ID}"), ("GET", "/api/health/ready")):
        reply = tenants.call(method, path, theirs)
        assert (reply.status_code, reply.json()["code"]) == (403, "insufficient_scope")
    assert "checks" in tenants.call("GET", "/api/health/ready", ours).json()


def test_a_browser_signs_in_at_the_gateways_own_tenant(tenants: Tenants) -> None:
    """People of the partner bring a token, or make a session of one."""
    reply = tenants.call("GET", "/api/login")
    assert reply.headers["location"].startswith(f"{tenants.home.authority}/oauth2/v2.0/authorize?")


def test_guests_come_in_where_somebody_lets_them(tenants: Tenants) -> None:
    """They are people of the tenant that they are guests of."""
    guest = replace(ALICE, object_id=str(uuid.uuid4()), home_tenant_id=PARTNER_TENANT_ID)
    told = _session(tenants, tenants.token(tenants.home, guest)).json()
    assert (told["tenant_id"], told["object_id"]) == (TENANT_ID, guest.object_id)


def _both(tenants: Tenants) -> tuple[Entra, Entra]:
    return tenants.home, tenants.partner


def _claims(tenant: Entra, person: Person) -> dict[str, Any]:
    """The claims of a token for the gateway, to be signed by whom a test likes."""
    now = int(tenant.issuer.now())
    frame = {"iss": tenant.issuer.url, "tid": tenant.issuer.tenant_id, "iat": now, "nbf": now, "exp": now + 3600}
    client = {"azp": SCRIPT_CLIENT_ID, "azpacr": tokens.PUBLIC, "scp": GATEWAY_SCOPE, "ver": "2.0"}
    return tokens.person_claims(person, GATEWAY_CLIENT_ID, "a-session") | frame | client


def _session(tenants: Tenants, token: str) -> httpx.Response:
    return tenants.call("GET", "/api/session", token)


def _refused(tenants: Tenants, token: str) -> None:
    """Checks that a token is met with 401, and that Fabric hears nothing of it."""
    asked = len(tenants.upstream)
    reply = tenants.ask(token, "total sales")
    assert (reply.status_code, reply.json()["code"]) == (401, "token_invalid"), reply.text
    assert len(tenants.upstream) == asked


def _sessions(tenants: Tenants, partition: str) -> set[str]:
    """The keys of the sessions in a partition."""
    with TableServiceClient.from_connection_string(tenants.stack.azurite.connection_string) as service:
        rows = service.get_table_client("sessions").query_entities(f"PartitionKey eq '{partition}'")
        return {row["RowKey"] for row in rows}
