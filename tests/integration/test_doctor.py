"""The doctor on the stack: all is well; and with each thing broken in turn its cause and cure, and no other one."""

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from local.entra import grants, tokens
from local.entra.errors import Refused
from local.fabric import SALES_AGENT, faults
from local.people import ALICE, GATEWAY_OBJECT_ID, TENANT_ID
from local.serving import Server
from local.stack import FABRIC_AUDIENCE, Stack, free_port
from scripts.doctor.examination import examine
from scripts.doctor.patient import Patient
from scripts.doctor.sources import Kind, Source
from scripts.findings import Finding
from tests.integration.browser import app_token
from tests.integration.callers import token_of
from tests.integration.doctor_breaks import (
    MANY,
    Case,
    agent_is,
    agent_replies,
    claiming,
    entra_replies,
    identity_replies,
    no_queue,
    refused_by_entra,
    secret_ends,
    secret_is,
    secret_is_disabled,
    set_to,
    storage_at,
    storage_error,
    vault_error,
    vault_replies,
    with_agent,
)
from tests.lib.storage.front import Front
from tests.scripts.azure_cli import AzureCli

OTHER_ID = "11111111-2222-4333-8444-555555555555"

type Findings = dict[str, Finding]
type Examine = Callable[..., Awaitable[Findings]]


@pytest.fixture
def examined(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Examines the stack's gateway in this process, with these settings on top; what is told by name."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, stack.environment[name])
    trusted = ssl.create_default_context(cafile=stack.certificates.ca)  # aiohttp makes its own at import, too early
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusted)

    async def examine_with(
        settings: Mapping[str, str] | None = None, token: str | None = None, kind: Kind = "process"
    ) -> Findings:
        environ = stack.environment | dict(settings or {})
        named = ("gw", "rg") if kind == "deployed app" else ()
        patient = Patient(Source(kind, environ, *named), token_of(stack, ALICE) if token is None else token)
        try:
            return {finding.name: finding async for finding in examine(patient)}
        finally:
            await patient.close()

    return examine_with


async def test_a_sound_environment_is_found_sound(examined: Examine, secrets_seen: set[str], stack: Stack) -> None:
    """Every line is ok; and no line holds anything that is nobody else's business."""
    token = token_of(stack, ALICE)
    findings = await examined(token=token)
    assert {finding.status for finding in findings.values()} == {"ok"}, findings
    assert len(findings) == 18
    told = "\n".join(finding.told() for finding in findings.values())
    held = {stack.vault.get(name).value for name in ("index-key", "sealing-key", "client-secret")} | secrets_seen
    assert not [secret for secret in held | {token, stack.environment["IDENTITY_HEADER"]} if secret in told]


@pytest.mark.parametrize("kind", ["secret", "certificate"])
async def test_a_credential_of_key_vault_is_tried(examined: Examine, kind: str) -> None:
    """It is read, and Entra takes it."""
    findings = await examined({"CLIENT_CREDENTIAL": kind})
    assert {finding.status for finding in findings.values()} == {"ok"}, findings
    assert f"client-{kind}" in findings
    assert findings["client credential"].detail == f"accepted: {kind}"


async def test_a_secret_good_for_long_is_sound(examined: Examine, stack: Stack) -> None:
    """Its end is told."""
    with secret_ends("client-secret", 100.5 * 86400)(stack):
        findings = await examined({"CLIENT_CREDENTIAL": "secret"})
    assert findings["client-secret"].detail == "good for 100 days"


async def test_an_applications_token_is_nobodys(examined: Examine, stack: Stack) -> None:
    """Nobody is there on whose behalf anything could be tried; in the app's own name it is tried all the same."""
    agent = stack.fabric.agents[SALES_AGENT.object_id]
    readers = agent.readers | {GATEWAY_OBJECT_ID}
    with agent_is(lambda before: replace(before, app_region="North", readers=readers))(stack):
        findings = await examined(
            BY_APP(stack),
            app_token(stack),
        )
    assert findings["person's token"].detail == "it is an application's, for which nobody can be asked"
    assert findings["agent sales"].detail == "published, by the app's token"


async def test_without_a_person_it_is_told_how_to_bring_one(examined: Examine) -> None:
    """What takes a person is skipped, not failed."""
    findings = await examined(token="")
    skipped = {name for name, finding in findings.items() if finding.status == "skipped"}
    assert skipped == {"person's token", "on behalf of", "graph", "agent sales"}
    assert "failed" not in {finding.status for finding in findings.values()}
    assert "az account get-access-token" in findings["person's token"].cure
    assert "front door answers" in findings["agent sales"].detail


NOWHERE = f"https://127.0.0.1:{free_port()}"
PLAIN_NOWHERE = f"http://127.0.0.1:{free_port()}/devstoreaccount1"
SECRET = set_to(CLIENT_CREDENTIAL="secret")
BY_APP = with_agent(identity="app")

CASES = {
    # settings
    "wrong settings": Case(
        "settings",
        "TENANT_ID must be a GUID",
        'az functionapp config appsettings set --name "$APP" --resource-group "$RESOURCE_GROUP" '
        "--settings TENANT_ID=… KEY_VAULT_URL=…",
        "2 wrong",
        settings=set_to(TENANT_ID="common", KEY_VAULT_URL="http://vault.example"),
    ),
    "telemetry switch": Case(
        "platform settings",
        "PYTHON_ENABLE_OPENTELEMETRY keeps the gateway's own log lines",
        "az functionapp config appsettings delete",
        settings=set_to(PYTHON_ENABLE_OPENTELEMETRY="true"),
    ),
    "limits at odds": Case(
        "limits", "LIMIT_PER_DAY is less than LIMIT_BURST", "LIMIT_PER_DAY=", settings=set_to(LIMIT_PER_DAY="1")
    ),
    # identity
    "no managed identity": Case(
        "azure identity",
        "no managed identity of the client id",
        "az functionapp identity assign",
        broken=identity_replies(400),
    ),
    # key vault
    "vault away": Case(
        "key vault",
        "nothing answers at the address of the vault",
        "az keyvault show",
        "no reply",
        set_to(KEY_VAULT_URL=NOWHERE),
    ),
    "vault without a role": Case(
        "key vault",
        "the role `Key Vault Secrets User` is missing",
        'az role assignment create --role "Key Vault Secrets User" --assignee d4c0b8e6',
        "403 ForbiddenByRbac",
        broken=vault_replies("get", vault_error(403, "Forbidden", "ForbiddenByRbac")),
    ),
    "vault behind its firewall": Case(
        "key vault",
        "the firewall of the vault",
        "az keyvault network-rule list",
        "403 ForbiddenByFirewall",
        broken=vault_replies("get", vault_error(403, "Forbidden", "ForbiddenByFirewall")),
    ),
    "vault of another tenant": Case(
        "key vault",
        "belongs to another tenant",
        "az keyvault show",
        "401",
        broken=vault_replies("get", vault_error(401, "Unauthorized")),
    ),
    "vault failing": Case(
        "key vault",
        "fails or throttles",
        "az keyvault show",
        "503",
        broken=vault_replies("get", Response(status_code=503)),
    ),
    "no index key": Case(
        "index-key",
        "the vault has no secret index-key",
        'az keyvault secret set --vault-name 127 --name index-key --output none --value "$(openssl rand -base64 32)"',
        "missing",
        broken=secret_is("index-key"),
    ),
    "index key disabled": Case(
        "index-key",
        "the latest version is disabled",
        "--name index-key --enabled true",
        broken=secret_is_disabled("index-key"),
    ),
    "index key malformed": Case(
        "index-key", "not 32 bytes in base64", "--name index-key", "malformed", broken=secret_is("index-key", "short")
    ),
    "no sealing key": Case(
        "sealing-key",
        "the vault has no secret sealing-key",
        "--name sealing-key",
        "missing",
        broken=secret_is("sealing-key"),
    ),
    "sealing key malformed": Case(
        "sealing-key",
        "not 32 bytes in base64",
        "--name sealing-key",
        "malformed",
        broken=secret_is("sealing-key", "short"),
    ),
    "sealing key too young": Case(
        "sealing-key",
        "no enabled version is older than 10 minutes",
        "wait 9 minutes",
        "too young",
        broken=secret_is("sealing-key", "A" * 43 + "=", age=90),
    ),
    "every sealing key disabled": Case(
        "sealing-key",
        "every version of it is disabled",
        "az keyvault secret set-attributes --vault-name 127 --name sealing-key --version",
        broken=secret_is_disabled("sealing-key"),
    ),
    "versions not to be listed": Case(
        "sealing-key",
        "the role `Key Vault Secrets User` is missing",
        "az role assignment create",
        "403",
        broken=vault_replies("versions", vault_error(403, "Forbidden", "ForbiddenByRbac")),
    ),
    "client secret about to end": Case(
        "client-secret",
        "what proves the gateway to Entra ends",
        "az ad app credential reset --id 8a2f61d4",
        "ends in 9 days",
        SECRET,
        secret_ends("client-secret", 9.5 * 86400),
    ),
    "no client certificate": Case(
        "client-certificate",
        "the vault has no secret client-certificate",
        "--file key-and-certificate.pem",
        "missing",
        set_to(CLIENT_CREDENTIAL="certificate"),
        secret_is("client-certificate"),
    ),
    "client certificate malformed": Case(
        "client-certificate",
        "not a PEM of an RSA key",
        "--file key-and-certificate.pem",
        "malformed",
        set_to(CLIENT_CREDENTIAL="certificate"),
        secret_is("client-certificate", "-----BEGIN NONSENSE-----"),
    ),
    # storage
    "tables away": Case(
        "table storage",
        "nothing answers at the address of the Table Storage",
        "az storage account show",
        "no reply",
        storage_at(table=PLAIN_NOWHERE),
    ),
    "no queue": Case(
        "queue",
        "the account has no queue `questions`",
        "az storage queue create --name questions",
        "missing",
        broken=no_queue,
    ),
    "queues away": Case(
        "queue", "nothing answers", "az storage account show", "no reply", storage_at(queue=PLAIN_NOWHERE)
    ),
    # entra
    "entra's metadata failing": Case(
        f"entra {TENANT_ID[:8]}",
        "the reply is a failure or a redirect",
        "/v2.0/.well-known/openid-configuration",
        broken=entra_replies("discovery", Response(status_code=500)),
    ),
    "metadata of another issuer": Case(
        f"entra {TENANT_ID[:8]}",
        "another issuer's",
        "curl",
        broken=entra_replies("discovery", JSONResponse({"issuer": "https://elsewhere.example"})),
    ),
    "no usable signing key": Case(
        f"entra {TENANT_ID[:8]}",
        "no key that can be used",
        "curl",
        broken=entra_replies("keys", JSONResponse({"keys": []})),
    ),
    "entra away": Case(
        f"entra {TENANT_ID[:8]}",
        "Entra does not answer",
        f"curl {NOWHERE}",
        settings=set_to(ENTRA_AUTHORITY_HOST=NOWHERE),
    ),
    "an unknown tenant among the allowed": Case(
        "entra 11111111", "Entra has no such tenant", "curl", settings=set_to(ALLOWED_TENANTS=f"{TENANT_ID},{OTHER_ID}")
    ),
    "token endpoint failing": Case(
        "client credential",
        "Entra does not answer",
        "curl",
        "no answer",
        broken=entra_replies("token", Response(status_code=500)),
        token=lambda _stack: "",
    ),
    # the person
    "token expired": Case(
        "person's token",
        "the token's time has passed",
        "az account get-access-token",
        token=claiming(exp=1_700_003_600, iat=1_700_000_000, nbf=1_700_000_000),
    ),
    "token of version 1": Case(
        "person's token", "tokens of version 1.0", '"requestedAccessTokenVersion": 2', token=claiming(ver="1.0")
    ),
    "token for another application": Case(
        "person's token",
        "for another application than CLIENT_ID",
        "--scope 8a2f61d4",
        token=claiming(aud=OTHER_ID),
    ),
    "token of another tenant": Case(
        "person's token", "its tenant is not in ALLOWED_TENANTS", "--tenant", token=claiming(tid=OTHER_ID)
    ),
    "token of another client": Case(
        "person's token",
        "its client is not in ALLOWED_CLIENTS",
        f"ALLOWED_CLIENTS={OTHER_ID}",
        token=claiming(azp=OTHER_ID),
    ),
    "token without the scope": Case(
        "person's token", "it lacks the scope REQUIRED_SCOPE", "access_as_user", token=claiming(scp="other")
    ),
    "token of a guest": Case("person's token", "GUESTS is refuse", "member's", token=claiming(acct=1)),
    "no token at all": Case(
        "person's token", "it is no JWT", "az account get-access-token", token=lambda _stack: "hello"
    ),
    "token that is not genuine": Case(
        "person's token",
        "its signature, issuer or times are not right",
        "az account get-access-token",
        token=lambda stack: token_of(stack, ALICE)[:-8] + "AAAAAAAA",
    ),
    # agents
    "fabric away": Case(
        "agent sales",
        "Fabric's front door is not reached",
        "curl --head",
        "no connection",
        with_agent(url=NOWHERE + SALES_AGENT.path),
    ),
    "no front door": Case(
        "agent sales",
        "is not Fabric's front door",
        "copy the address anew",
        broken=agent_replies(Response(status_code=200), method="initialize"),
    ),
    "agent not published": Case(
        "agent sales",
        "no published version",
        "publish it: https://app.fabric",
        broken=agent_is(lambda agent: replace(agent, published=False)),
    ),
    "agent not shared": Case(
        "agent sales",
        "not shared with the person",
        "share it",
        "403",
        broken=agent_is(lambda agent: replace(agent, readers=frozenset())),
    ),
    "agent elsewhere": Case(
        "agent sales",
        "Fabric knows no agent of these ids",
        "copy the address anew",
        "404",
        with_agent(url="{fabric}/v1/mcp/workspaces/" + OTHER_ID + "/dataagents/" + OTHER_ID + "/agent"),
    ),
    "capacity paused": Case(
        "agent sales",
        "is paused (CapacityNotActive)",
        "az fabric capacity resume",
        "paused",
        broken=agent_replies(JSONResponse({"errorCode": "CapacityNotActive"}, 400)),
    ),
    "capacity overloaded": Case(
        "agent sales",
        "overloaded (CapacityLimitExceeded)",
        "scale the capacity",
        broken=agent_replies(JSONResponse({"errorCode": "CapacityLimitExceeded"}, 429)),
    ),
    "fabric's token not taken": Case(
        "agent sales",
        "FABRIC_SCOPE names another resource",
        "set FABRIC_SCOPE",
        "401",
        broken=agent_replies(Response(status_code=401)),
    ),
    "a stronger sign-in wanted": Case(
        "agent sales",
        "conditional access",
        "sign in again",
        "401 with claims",
        broken=agent_replies(faults.challenge('{"access_token": {"acrs": {"essential": true, "value": "c1"}}}')),
    ),
    "schema changed": Case(
        "agent sales",
        "does not take exactly one question",
        "publish it again",
        "unknown schema",
        broken=agent_replies(faults.refuse(-32000, "odd"), method="tools/list"),
    ),
    "agent failing": Case(
        "agent sales", "Fabric fails", "support.fabric", "failing", broken=agent_replies(Response(status_code=500))
    ),
    "app without the workspace": Case(
        "agent sales", "the app is no Contributor", "Service principals can use Fabric APIs", "403", BY_APP
    ),
    # the address
    "public address leads nowhere": Case(
        "public address",
        "nothing answers at PUBLIC_BASE_URL",
        "curl --include",
        settings=set_to(PUBLIC_BASE_URL=NOWHERE),
    ),
    "somebody else at the public address": Case(
        "public address",
        "is not this gateway",
        "curl --include",
        settings=lambda stack: {"PUBLIC_BASE_URL": stack.urls["entra"]},
    ),
}

REFUSALS = {
    700016: ("the tenant has no application CLIENT_ID", "az ad sp create --id 8a2f61d4"),
    7000229: ("no service principal in the tenant", "az ad sp create --id 8a2f61d4"),
    7000112: ("the application is disabled", "accountEnabled=true"),
    7000215: ("the secret in Key Vault is none of the application's", "az keyvault secret set --vault-name 127"),
    7000222: ("the application's secret has expired", "az ad app credential reset"),
    700027: ("the certificate in Key Vault is not registered", "az ad app credential reset"),
    700024: ("a clock is wrong", "NTP"),
    70021: ("no federated credential of the application fits", "az ad app federated-credential create --id 8a2f61d4"),
    700211: ("names the managed identity's issuer", f'/{TENANT_ID}/v2.0"'),
    700212: ("audience is not api://AzureADTokenExchange", '"audiences": ["api://AzureADTokenExchange"]'),
    700213: ("the subject is its object id", "az ad sp show --id d4c0b8e6"),
    500011: ("no service principal of Fabric", "az ad sp create --id 00000009-0000-0000-c000-000000000000"),
}
FOR_PEOPLE = {
    65001: ("nobody has consented", "az ad app permission admin-consent --id 8a2f61d4"),
    50105: ("assignment is required", "appRoleAssignmentRequired=false"),
    50076: ("conditional access asks for more", "sign in again"),
    53003: ("conditional access asks for more", "sign in again"),
    50013: ("not one that Entra can exchange", "DOCTOR_TOKEN"),
    7000114: ("only a person's can be exchanged", "DOCTOR_TOKEN"),
}


def check(findings: Findings, case: Case) -> None:
    """Checks that this one line tells of it, and that no other is wrong."""
    assert {name for name, finding in findings.items() if finding.status == "failed"} == {case.name}, findings
    told = findings[case.name]
    assert case.detail in told.detail, told
    assert case.cause in told.cause, told
    assert case.cure in told.cure, told


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_is_broken_is_told_with_its_cause_and_cure(examined: Examine, stack: Stack, case: Case) -> None:
    """One line tells of it; what stands on it is skipped, and everything else is as sound as it is."""
    settings = {name: value.replace("{fabric}", stack.urls["fabric"]) for name, value in case.settings(stack).items()}
    with case.broken(stack):
        findings = await examined(settings, case.token(stack) if case.token else None)
    check(findings, case)


@pytest.mark.parametrize(("number", "words"), REFUSALS.items(), ids=map(str, REFUSALS))
async def test_a_refused_credential_is_told_by_entras_number(
    examined: Examine, stack: Stack, number: int, words: tuple[str, str]
) -> None:
    """As a cause that can be mended, and never in Entra's own text, which names apps and people."""
    with refused_by_entra(number)(stack):
        findings = await examined(token="")
    check(findings, Case("client credential", *words, f"AADSTS{number}"))


@pytest.mark.parametrize(("number", "words"), FOR_PEOPLE.items(), ids=map(str, FOR_PEOPLE))
async def test_what_entra_refuses_for_a_person_is_told_likewise(
    examined: Examine, stack: Stack, number: int, words: tuple[str, str]
) -> None:
    """The application proves itself, and the person's token is not exchanged."""

    async def as_usual(scope: Scope, receive: Receive, send: Send) -> None:
        await (await grants.token(stack.entra, Request(scope, receive)))(scope, receive, send)

    with entra_replies("token", as_usual, *[Refused(number).reply()] * MANY)(stack):
        findings = await examined()
    check(findings, Case("on behalf of", *words, f"AADSTS{number}"))


@pytest.mark.parametrize(
    ("earlier", "code", "case"),
    [
        (
            0,
            "AuthorizationPermissionMismatch",
            Case(
                "table storage", "the role `Storage Table Data Contributor` is missing", "within 5 to 10 minutes", "403"
            ),
        ),
        (
            0,
            "AuthorizationFailure",
            Case("table storage", "the firewall of the Table Storage", "network-rule list", "403 AuthorizationFailure"),
        ),
        (
            1,
            "AuthorizationPermissionMismatch",
            Case("a row written", "the role `Storage Table Data Contributor` is missing", "az role assignment create"),
        ),
    ],
    ids=["reading", "firewall", "writing"],
)
async def test_tables_that_are_not_open_to_the_gateway_are_told(
    examined: Examine, storage: tuple[Front, str], earlier: int, code: str, case: Case
) -> None:
    """Reading and writing are rights of their own, and a network is no role."""
    front, connection = storage
    front.planned.extend([*[front.pass_on] * earlier, storage_error(code)])
    check(await examined({"STATE_STORAGE": connection}), case)


async def test_a_queue_that_is_not_open_to_the_gateway_is_told(examined: Examine, stack: Stack) -> None:
    """Queue Storage has a role of its own."""
    parts = urlsplit(stack.azurite.queue_url)
    front = Front(f"{parts.scheme}://{parts.netloc}")
    front.planned.append(storage_error("AuthorizationPermissionMismatch"))
    with Server(front, host="127.0.0.1") as server:
        findings = await examined(storage_at(queue=f"{server.url}/devstoreaccount1")(stack))
    check(findings, Case("queue", "the role `Storage Queue Data Contributor` is missing", "az role assignment create"))


@pytest.fixture
def signed_in(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AzureCli:
    """A developer at the Azure CLI: alice, who may read the vault, and ask the agent herself."""
    cli = AzureCli(tmp_path, monkeypatch)
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    alice = tokens.person_claims(ALICE, FABRIC_AUDIENCE, "") | {"scp": "DataAgent.Execute.All"}
    for resource in (stack.key_vault.resource, FABRIC_AUDIENCE, "https://storage.azure.com"):
        claims = alice | {"aud": resource}
        told = {"accessToken": tokens.lasting(stack.issuer, 3600, claims), "expires_on": int(time.time()) + 3600}
        cli.answers(f"account get-access-token*--resource {resource}*", told)
    return cli


DEVELOPER = {"IDENTITY_ENDPOINT": ""}


@pytest.mark.usefixtures("signed_in")
async def test_on_a_developers_machine_their_own_sign_in_stands_in(examined: Examine) -> None:
    """What the app alone can prove is skipped, and told."""
    findings = await examined(DEVELOPER)
    assert "Azure CLI" in findings["azure identity"].detail
    assert findings["agent sales"].detail == "published, by your own token"
    skipped = {name for name, finding in findings.items() if finding.status == "skipped"}
    assert skipped == {"client credential", "on behalf of", "graph"}
    assert "failed" not in {finding.status for finding in findings.values()}, findings


@pytest.mark.usefixtures("signed_in")
async def test_what_a_developer_is_refused_tells_nothing_of_the_app(examined: Examine, stack: Stack) -> None:
    """It is skipped, with what would have to be done for themselves."""
    unshared = agent_is(lambda agent: replace(agent, readers=frozenset()))
    refused = vault_replies("get", vault_error(403, "Forbidden", "ForbiddenByRbac"))
    with unshared(stack), refused(stack):
        findings = await examined(DEVELOPER)
    assert "failed" not in {finding.status for finding in findings.values()}, findings
    assert "az ad signed-in-user show" in findings["key vault"].cure
    assert "tells nothing of the app's" in findings["key vault"].detail
    assert findings["index-key"].detail == "needs: key vault"
    assert "not shared with you" in findings["agent sales"].detail


async def test_a_deployed_app_is_looked_at_by_the_azure_cli_too(examined: Examine, signed_in: AzureCli) -> None:
    """Its plan, its registration, and the host's own settings."""
    client, identity, callback = "8a2f61d4*", "d4c0b8e6*", "/api/login/callback"
    signed_in.answers("functionapp scale config show*", {"maximumInstanceCount": 3})
    signed_in.answers(f"ad app show --id {client}", {"api": {}, "web": {"redirectUris": [callback]}})
    signed_in.answers(f"ad sp show --id {identity}", {"id": "object"})
    signed_in.answers(f"ad app federated-credential list --id {client}", [])
    findings = await examined(DEVELOPER, kind="deployed app")
    wrong = {name: finding.detail for name, finding in findings.items() if finding.status == "failed"}
    assert wrong == {
        "platform settings": "6 wrong",
        "limits": "2 wrong",
        "app registration": "3 wrong",
        "federated credential": "none of 0 fits",
    }


async def test_a_developer_who_is_not_signed_in_is_told_to(examined: Examine, signed_in: AzureCli) -> None:
    """Nothing of Azure's can be looked at before."""
    signed_in.forget()
    findings = await examined(DEVELOPER)
    check(findings, Case("azure identity", "nobody is signed in at the Azure CLI", f"az login --tenant {TENANT_ID}"))
    assert "front door answers" in findings["agent sales"].detail
