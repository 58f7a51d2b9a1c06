"""Rules for tokens from Entra. What leaves msal is real; the token endpoint is the tests' own."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from lib.errors import (
    ClientCredentialRejected,
    ConsentRequired,
    GatewayError,
    IdentityProviderUnavailable,
    LoginFailed,
    ReauthRequired,
    StepUpRequired,
    TokenExpired,
)
from lib.identity import entra as module
from lib.identity.authorization import claims_request
from lib.identity.claims import decode_segment
from lib.identity.credentials import ClientCredential
from lib.identity.entra import BUSY_SECONDS, MOST_WAITING, REDEMPTIONS, EntraClient
from lib.identity.msal_http import CONNECTIONS, NoReplies
from lib.telemetry import traces
from lib.traffic.circuit import LEAST_OUTCOMES, RESET_SECONDS, SUCCESSES_TO_CLOSE, Circuit
from tests.clock import Clock
from tests.lib.identity.authority import (
    CLIENT,
    FABRIC,
    HOST,
    OTHER_TENANT,
    START,
    TENANT,
    TokenEndpoint,
    claims,
    granted,
    mint,
    raw,
    refused,
    reply,
    rsa_key,
    settings,
)
from tests.lib.identity.client import Identity, Vault, certificate_of, pem_of

CAPABLE = {"xms_cc": {"values": ["CP1"]}}

type Grant = Callable[[dict[str, str]], httpx.Response]

CERTIFICATE = pem_of(rsa_key("client")) + certificate_of(rsa_key("client"))


class Gateway:
    """A client of Entra with everything around it that a test looks at."""

    def __init__(self, grant: Grant, **environ: str) -> None:
        self.clock = Clock()
        self.endpoint = TokenEndpoint(grant)
        self.identity = Identity(self.clock)
        self.vault = Vault(client_secret="hush", client_certificate=CERTIFICATE)
        self.slept: list[float] = []
        self.spent: list[str] = []
        told = settings(**({"CLIENT_CREDENTIAL": "secret"} | environ))
        credential = ClientCredential(told, self.identity, self.vault, self.clock)
        self.circuit = Circuit("entra", clock=self.clock, uniform=lambda low, high: (low + high) / 2)
        self.entra = EntraClient(
            told,
            credential,
            transport=self.endpoint.transport,
            now=self.clock,
            sleep=self._sleep,
            circuit=self.circuit,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@asynccontextmanager
async def gateway(grant: Grant, **environ: str) -> AsyncIterator[Gateway]:
    """A gateway that is closed in the end."""
    made = Gateway(grant, **environ)
    try:
        yield made
    finally:
        made.entra.close()


def for_whom(form: dict[str, str]) -> httpx.Response:
    """A token that says for whom it is."""
    return granted(f"token of {form['assertion']}")


async def test_on_behalf_of_exchanges_the_callers_token() -> None:
    """The form is the one Entra documents, with our credential and our capabilities."""
    async with gateway(for_whom) as made:
        token = await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    (form,) = made.endpoint.forms
    assert (token.access_token, token.expires_at) == ("token of alice", START + 4200)
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert (form["assertion"], form["requested_token_use"]) == ("alice", "on_behalf_of")
    assert (form["client_id"], form["client_secret"]) == (CLIENT, "hush")
    assert set(form["scope"].split()) == {FABRIC, "openid", "profile", "offline_access"}
    assert '"CP1"' in form["claims"]
    assert str(made.endpoint.requests[0].url) == f"{HOST}/{TENANT}/oauth2/v2.0/token"


async def test_a_token_shows_nothing_of_itself() -> None:
    """Not in a repr."""
    id_token = mint(claims())
    async with gateway(lambda _: granted("very", refresh_token="private", id_token=id_token)) as made:
        token = await made.entra.refresh(TENANT, "old", FABRIC)
    assert (token.refresh_token, token.id_token) == ("private", id_token)
    assert not [secret for secret in ("very", "private", id_token) if secret in repr(token)]


@pytest.mark.parametrize(
    ("first", "raised"),
    [
        pytest.param(lambda: raw(b"", 429, Retry_After="600"), IdentityProviderUnavailable, id="throttled"),
        pytest.param(lambda: raw(b"", 503), IdentityProviderUnavailable, id="away"),
        pytest.param(lambda: raw(b"", 503, Retry_After="600"), IdentityProviderUnavailable, id="away for long"),
        pytest.param(
            lambda: reply({"access_token": "alice's", "expires_in": 4200}, Retry_After="600"), None, id="a token"
        ),
        pytest.param(lambda: refused("invalid_grant", 65001), ConsentRequired, id="refused"),
    ],
)
async def test_what_one_person_gets_never_reaches_another(
    first: Callable[[], httpx.Response], raised: type[GatewayError] | None
) -> None:
    """Alice's failure, and Alice's token even where a proxy adds `Retry-After`, stay Alice's."""
    async with gateway(lambda form: first() if form["assertion"] == "alice" else for_whom(form)) as made:
        for _ in range(8):  # so that Alice's failures alone do not make the gateway leave Entra alone
            assert (await made.entra.on_behalf_of(TENANT, "carol", FABRIC)).access_token == "token of carol"
        for _ in range(2):
            if raised is None:
                assert (await made.entra.on_behalf_of(TENANT, "alice", FABRIC)).access_token == "alice's"
            else:
                with pytest.raises(raised):
                    await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
            assert (await made.entra.on_behalf_of(TENANT, "bob", FABRIC)).access_token == "token of bob"
    assert [form["assertion"] for form in made.endpoint.forms].count("bob") == 2


async def test_fifty_people_at_once_get_their_own_tokens_and_leave_nothing() -> None:
    """One application serves them all, and keeps none of it."""
    id_token = mint(claims())
    async with gateway(
        lambda form: granted(form["assertion"], refresh_token=f"refresh {form['assertion']}", id_token=id_token)
    ) as made:
        people = [f"person{n}" for n in range(50)]
        tokens = await asyncio.gather(*(made.entra.on_behalf_of(TENANT, person, FABRIC) for person in people))
        assert [token.access_token for token in tokens] == people
        assert [token.refresh_token for token in tokens] == [f"refresh {person}" for person in people]
        (application,) = made.entra._applications.values()
        assert not any(application.token_cache._cache.values())
        assert isinstance(application.http_client._expiring_mapping._mapping, NoReplies)


async def test_a_refresh_token_is_renewed() -> None:
    """With the capabilities, which msal leaves out here."""
    async with gateway(lambda form: granted("new", refresh_token=f"after {form['refresh_token']}")) as made:
        token = await made.entra.refresh(TENANT, "old", FABRIC)
    (form,) = made.endpoint.forms
    assert (token.access_token, token.refresh_token) == ("new", "after old")
    assert (form["grant_type"], form["claims"]) == ("refresh_token", claims_request())


async def test_the_gateway_asks_in_its_own_name() -> None:
    """In its own tenant, and without scopes of OpenID."""
    async with gateway(lambda _: granted("app")) as made:
        assert (await made.entra.for_app(FABRIC)).access_token == "app"
        await made.entra.for_app(FABRIC)
    assert [(form["grant_type"], form["scope"]) for form in made.endpoint.forms] == [("client_credentials", FABRIC)] * 2


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(lambda: refused("invalid_grant", 65001), id="consent"),
        pytest.param(lambda: refused("interaction_required", 53003, claims='{"access_token":{}}'), id="access policy"),
        pytest.param(lambda: refused("invalid_client", 7000215, status=401), id="credential"),
    ],
)
async def test_what_only_a_person_could_do_is_an_apps_misconfiguration(response: Callable[[], httpx.Response]) -> None:
    """Nobody is there to consent or to sign in again."""
    async with gateway(lambda _: response()) as made:
        with pytest.raises(ClientCredentialRejected):
            await made.entra.for_app(FABRIC)


@pytest.mark.parametrize(
    "odd",
    [
        {"error": None},
        {"error": 5},
        {"error": ["x"]},
        {"error": "é"},
        {"error": "a\r\nb"},
        {"access_token": "x", "expires_in": 3600, "error": {}},
        {"access_token": "x", "expires_in": 10**400},
        {"access_token": "x", "expires_in": "soon"},
        {"access_token": 5, "expires_in": 3600},
        {"access_token": "x", "expires_in": 3600, "scope": ["x"]},
        {"error": "invalid_grant", "suberror": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [200, 400])
async def test_one_odd_reply_leaves_nothing_behind(odd: dict[str, object], status: int) -> None:
    """Msal keeps errors for its telemetry, and would raise at every call after one that it cannot write down."""
    replies = iter([reply(odd, status), reply(odd, status)])

    def first_odd(form: dict[str, str]) -> httpx.Response:
        return next(replies, None) or for_whom(form)

    async with gateway(first_odd) as made:
        with pytest.raises(GatewayError):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        for person in ("alice", "bob"):
            assert (await made.entra.on_behalf_of(TENANT, person, FABRIC)).access_token == f"token of {person}"


async def test_codes_that_anybody_can_bring_are_not_in_the_way_of_those_signed_in() -> None:
    """Redemptions wait for each other, and for nobody else."""
    gate = threading.Event()

    def grant(form: dict[str, str]) -> httpx.Response:
        if form["grant_type"] == "authorization_code":
            gate.wait(10)
            return refused("invalid_grant", 70008)
        return for_whom(form)

    async with gateway(grant) as made:
        forged = [asyncio.create_task(redeemed(made, f"code{n}")) for n in range(3 * CONNECTIONS)]
        await asyncio.sleep(0)
        assert (await made.entra.on_behalf_of(TENANT, "alice", FABRIC)).access_token == "token of alice"
        gate.set()
        outcomes = await asyncio.gather(*forged, return_exceptions=True)
    assert all(isinstance(outcome, GatewayError) for outcome in outcomes)


async def test_a_few_redemptions_wait_and_whoever_comes_behind_them_is_told_at_once() -> None:
    """With when to come again; once there is a place, the next one gets it."""
    gate = threading.Event()

    def grant(_: dict[str, str]) -> httpx.Response:
        gate.wait(10)
        return refused("invalid_grant", 70008)

    async with gateway(grant) as made:
        waiting = [asyncio.create_task(redeemed(made)) for _ in range(REDEMPTIONS + MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(IdentityProviderUnavailable) as fault:
            await redeemed(made)
        assert fault.value.retry_after == BUSY_SECONDS
        assert len(made.spent) <= REDEMPTIONS + MOST_WAITING
        assert len(made.endpoint.requests) <= REDEMPTIONS
        waiting[-1].cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(redeemed(made)))
        gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert Counter(map(type, outcomes)) == {ReauthRequired: REDEMPTIONS + MOST_WAITING, asyncio.CancelledError: 1}


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (lambda: refused("invalid_grant", 70000), ReauthRequired),
        (lambda: refused("invalid_request", 9002313), LoginFailed),
        (lambda: refused("something_new", 1), LoginFailed),
        (lambda: refused("temporarily_unavailable", 90033), IdentityProviderUnavailable),
        (lambda: refused("invalid_client", 7000215, status=401), ClientCredentialRejected),
    ],
    ids=["no code of ours", "no code at all", "a reason that nobody knows", "passing", "credential"],
)
async def test_a_code_that_is_refused_is_its_bringers_fault_unless_it_is_known_to_be_another(
    response: Callable[[], httpx.Response], kind: type[GatewayError]
) -> None:
    """Else anybody could make Entra look away, by bringing what it does not understand."""
    async with gateway(lambda _: response()) as made:
        with pytest.raises(kind):
            await redeemed(made)


async def test_a_replaced_secret_counts_from_the_request_after_its_rejection() -> None:
    """Nobody has to restart the gateway, or to wait for an hour, when a secret is rotated."""

    def only_the_new(form: dict[str, str]) -> httpx.Response:
        return granted("token") if form["client_secret"] == "new" else refused("invalid_client", 7000222, status=401)

    async with gateway(only_the_new) as made:
        with pytest.raises(ClientCredentialRejected):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        made.vault.secrets["client-secret"] = "new"
        assert (await made.entra.on_behalf_of(TENANT, "alice", FABRIC)).access_token == "token"
    assert made.vault.ages == [60]


async def test_each_tenant_has_its_own_application() -> None:
    """Asked at its own address, and built once."""
    async with gateway(for_whom, ALLOWED_TENANTS=f"{TENANT},{OTHER_TENANT}") as made:
        for tenant in (TENANT, OTHER_TENANT, TENANT):
            await made.entra.on_behalf_of(tenant, "alice", FABRIC)
        assert made.entra._applications.keys() == {TENANT, OTHER_TENANT}
    paths = [request.url.path.split("/")[1] for request in made.endpoint.requests]
    assert paths == [TENANT, OTHER_TENANT, TENANT]


async def test_a_tenant_that_is_no_longer_allowed_is_not_asked() -> None:
    """A session may be older than the list."""
    async with gateway(for_whom) as made:
        with pytest.raises(ReauthRequired):
            await made.entra.refresh(OTHER_TENANT, "old", FABRIC)
    assert made.endpoint.requests == []


async def test_the_managed_identity_stands_in_for_a_secret() -> None:
    """Its token is the client assertion; a renewed one is used without building anything anew."""
    async with gateway(for_whom, CLIENT_CREDENTIAL="managed-identity") as made:
        await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        (before,) = made.entra._applications.values()
        made.clock.advance(13 * 3600)
        await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        assert list(made.entra._applications.values()) == [before]
    forms = made.endpoint.forms
    assert [form["client_assertion"] for form in forms] == ["assertion-1", "assertion-2"]
    assert forms[0]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in forms[0]


async def test_a_certificate_signs_with_ps256_and_its_sha_256_thumbprint() -> None:
    """RFC 7515 section 4.1.8; the older SHA-1 form is for nobody any more."""
    async with gateway(for_whom, CLIENT_CREDENTIAL="certificate") as made:
        await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    assertion = made.endpoint.forms[0]["client_assertion"]
    header = jwt.get_unverified_header(assertion)
    certificate = x509.load_pem_x509_certificate(certificate_of(rsa_key("client")).encode())
    assert header["alg"] == "PS256"
    assert decode_segment(header["x5t#S256"].rstrip("=")) == certificate.fingerprint(hashes.SHA256())
    assert "x5t" not in header
    told = jwt.decode(
        assertion,
        rsa_key("client").public_key(),
        algorithms=["PS256"],
        audience=f"{HOST}/{TENANT}/oauth2/v2.0/token",
        issuer=CLIENT,
    )
    assert told["sub"] == CLIENT


async def test_a_replaced_secret_is_used_next() -> None:
    """An operator who replaces it need not restart anything."""
    async with gateway(for_whom) as made:
        await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        made.vault.secrets["client-secret"] = "new"
        await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    assert [form["client_secret"] for form in made.endpoint.forms] == ["hush", "new"]


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (lambda: refused("interaction_required", 50079, claims='{"access_token":{"a":{}}}'), StepUpRequired),
        (lambda: refused("invalid_grant", 65001, suberror="consent_required"), ConsentRequired),
        (lambda: refused("invalid_grant", 500133), TokenExpired),
        (lambda: refused("invalid_grant", 50173), ReauthRequired),
        (lambda: refused("invalid_client", 700213, status=401), ClientCredentialRejected),
        (lambda: refused("temporarily_unavailable", 90033), IdentityProviderUnavailable),
        (lambda: granted(""), IdentityProviderUnavailable),
        (lambda: granted("x", expires_in="4200"), IdentityProviderUnavailable),
        (lambda: granted("x", refresh_token=5), IdentityProviderUnavailable),
        (lambda: reply({}), IdentityProviderUnavailable),
    ],
    ids=[
        "step up",
        "consent",
        "expired",
        "revoked",
        "credential",
        "passing",
        "empty",
        "text for a time",
        "a number for a token",
        "nothing",
    ],
)
async def test_a_refusal_is_raised_as_what_it_means(
    response: Callable[[], httpx.Response], kind: type[GatewayError]
) -> None:
    """And whatever Entra says about people is in none of it."""
    async with gateway(lambda _: response()) as made:
        with pytest.raises(kind) as fault:
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    assert "alice" not in f"{fault.value!r} {fault.value.__cause__!r}"


async def test_missing_consent_is_told_with_where_to_give_it() -> None:
    """To an administrator of the person's own tenant."""
    async with gateway(lambda _: refused("invalid_grant", 65001), ALLOWED_TENANTS=f"{TENANT},{OTHER_TENANT}") as made:
        with pytest.raises(ConsentRequired) as fault:
            await made.entra.on_behalf_of(OTHER_TENANT, "alice", FABRIC)
    url = f"{HOST}/{OTHER_TENANT}/adminconsent?client_id={CLIENT}"
    assert fault.value.members == {"admin_consent_url": url}


async def test_a_passing_failure_is_tried_once_more() -> None:
    """After the wait that Entra asks for, where that is short."""
    replies = iter([raw(b"", 503, Retry_After="2"), granted("second")])
    async with gateway(lambda _: next(replies)) as made:
        assert (await made.entra.on_behalf_of(TENANT, "alice", FABRIC)).access_token == "second"
    assert len(made.slept) == 1
    assert 2 <= made.slept[0] < 3


async def test_a_lasting_failure_is_told_with_its_wait() -> None:
    """Two attempts and no more; a wait that is too long is left to the caller at once."""
    async with gateway(lambda _: raw(b"", 503)) as made:
        with pytest.raises(IdentityProviderUnavailable):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    assert len(made.endpoint.requests) == 2
    async with gateway(lambda _: raw(b"", 429, Retry_After="30")) as made:
        with pytest.raises(IdentityProviderUnavailable) as fault:
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    assert (len(made.endpoint.requests), fault.value.retry_after) == (1, 30)


async def test_nobody_waits_past_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that hangs keeps its caller for so long and no longer."""
    released = threading.Event()

    def hang(form: dict[str, str]) -> httpx.Response:
        released.wait(10)
        return for_whom(form)

    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.05)
    async with gateway(hang) as made:
        with pytest.raises(IdentityProviderUnavailable):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        released.set()


async def test_only_so_many_requests_are_under_way() -> None:
    """The others wait their turn, and the event loop waits for none."""
    lock, under_way, most = threading.Lock(), 0, 0
    full = threading.Barrier(CONNECTIONS - REDEMPTIONS)

    def grant(form: dict[str, str]) -> httpx.Response:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        full.wait(10)  # all threads are here at once, three times over
        with lock:
            under_way -= 1
        return for_whom(form)

    async with gateway(grant) as made:
        asked = (made.entra.on_behalf_of(TENANT, f"person{n}", FABRIC) for n in range(3 * (CONNECTIONS - REDEMPTIONS)))
        await asyncio.gather(*asked)
    assert most == CONNECTIONS - REDEMPTIONS


async def test_what_a_thread_logs_belongs_to_its_request() -> None:
    """The trace id goes along."""
    seen = []

    def grant(form: dict[str, str]) -> httpx.Response:
        seen.append(traces.trace_id.get())
        return for_whom(form)

    marker = traces.trace_id.set("0af7651916cd43dd8448eb211c80319c")
    async with gateway(grant) as made:
        await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
    traces.trace_id.reset(marker)
    assert seen == ["0af7651916cd43dd8448eb211c80319c"]


async def test_no_region_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What msal would read there could send the credential elsewhere."""
    monkeypatch.setenv("MSAL_FORCE_REGION", "westeurope")
    async with gateway(lambda _: granted("app")) as made:
        await made.entra.for_app(FABRIC)
    assert made.endpoint.requests[0].url.host == "login.microsoftonline.com"


async def test_a_renewal_asks_for_what_the_sign_in_has_answered() -> None:
    """Else the token would lack it, and the next challenge would be the same."""
    async with gateway(lambda _: granted("fabric")) as made:
        await made.entra.refresh(TENANT, "old", FABRIC, claims='{"access_token":{"acrs":{"value":"c1"}}}')
    (form,) = made.endpoint.forms
    assert json.loads(form["claims"]) == {"access_token": {"acrs": {"value": "c1"}, **CAPABLE}}


NONCE_HASH = "78377b525757b494427f89014f97d79928f3938d14eb51e20fb5dec9834eb304"
"""SHA-256 of `nonce`."""


async def test_a_code_is_redeemed_with_its_proof() -> None:
    """Code, PKCE verifier and redirect address go together."""
    id_token = mint(claims(nonce=NONCE_HASH))
    async with gateway(lambda _: granted("fabric", refresh_token="r", id_token=id_token)) as made:
        token = await redeemed(made)
    (form,) = made.endpoint.forms
    assert made.spent == ["code"]
    assert (token.access_token, token.refresh_token, token.id_token) == ("fabric", "r", id_token)
    assert (form["grant_type"], form["code"], form["code_verifier"]) == ("authorization_code", "code", "verifier")
    assert form["redirect_uri"] == "https://ask.contoso.com/callback"
    assert set(form["scope"].split()) == {FABRIC, "openid", "profile", "offline_access"}


async def test_the_id_token_of_another_sign_in_is_a_failed_one() -> None:
    """Msal quotes both nonces in its error: nothing of it gets out."""
    id_token = mint(claims(nonce="strange"))
    async with gateway(lambda _: granted("fabric", id_token=id_token)) as made:
        with pytest.raises(LoginFailed) as fault:
            await redeemed(made)
    assert fault.value.__cause__ is None
    assert fault.value.__suppress_context__
    assert "strange" not in str(fault.value)


async def test_a_sign_in_that_is_used_up_is_not_asked_about() -> None:
    """Nor does that tell anything of Entra's health."""

    async def used_up() -> None:
        raise LoginFailed

    async with gateway(for_whom) as made:
        for _ in range(2 * LEAST_OUTCOMES):
            with pytest.raises(LoginFailed):
                await made.entra.redeem(
                    "code", used_up, redirect_uri="x", scope=FABRIC, nonce="nonce", code_verifier="verifier"
                )
        assert (made.endpoint.requests, made.circuit.state) == ([], "closed")


async def test_a_code_is_redeemed_once() -> None:
    """A second attempt could only be told that the code is used."""
    async with gateway(lambda _: raw(b"", 503)) as made:
        with pytest.raises(IdentityProviderUnavailable):
            await redeemed(made)
    assert len(made.endpoint.requests) == 1


async def test_an_entra_that_fails_is_left_alone_and_then_asked_by_one() -> None:
    """Five failures; then nobody is kept waiting, and in a while it is asked again."""
    away = True

    def grant(form: dict[str, str]) -> httpx.Response:
        if away:
            return raw(b"", 503, Retry_After="600")
        return refused("invalid_request", 9002313) if form.get("code") == "junk" else for_whom(form)

    async with gateway(grant) as made:
        for _ in range(LEAST_OUTCOMES):
            with pytest.raises(IdentityProviderUnavailable):
                await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        for ask in (made.entra.on_behalf_of(TENANT, "bob", FABRIC), made.entra.for_app(FABRIC), redeemed(made)):
            with pytest.raises(IdentityProviderUnavailable) as fault:
                await ask
            assert fault.value.retry_after == RESET_SECONDS
        assert (len(made.endpoint.requests), made.slept, made.spent) == (LEAST_OUTCOMES, [], [])
        away = False
        made.clock.advance(RESET_SECONDS)
        for _ in range(SUCCESSES_TO_CLOSE):
            with pytest.raises(LoginFailed):
                await redeemed(made, "junk")
        assert state(made.circuit) == "half_open", "what somebody brings is no proof of its health either"
        for _ in range(SUCCESSES_TO_CLOSE):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        assert state(made.circuit) == "closed"


async def test_a_rejected_credential_is_not_shown_again_and_again() -> None:
    """What opened the circuit is what is told meanwhile; a new one counts with the next probe."""

    def only_the_new(form: dict[str, str]) -> httpx.Response:
        return granted("token") if form["client_secret"] == "new" else refused("invalid_client", 7000222, status=401)

    async with gateway(only_the_new) as made:
        for _ in range(LEAST_OUTCOMES + 3):
            with pytest.raises(ClientCredentialRejected) as fault:
                await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        assert fault.value.retry_after == RESET_SECONDS
        assert len(made.endpoint.requests) == LEAST_OUTCOMES
        made.vault.secrets["client-secret"] = "new"
        made.clock.advance(RESET_SECONDS)
        assert (await made.entra.on_behalf_of(TENANT, "alice", FABRIC)).access_token == "token"


async def test_a_failure_that_opens_the_circuit_is_not_tried_once_more() -> None:
    """The second attempt is refused, and that is what the caller hears."""
    async with gateway(lambda _: raw(b"", 503)) as made:
        with pytest.raises(IdentityProviderUnavailable):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        with pytest.raises(IdentityProviderUnavailable):
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        with pytest.raises(IdentityProviderUnavailable) as fault:
            await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
        assert (len(made.endpoint.requests), fault.value.retry_after) == (LEAST_OUTCOMES, RESET_SECONDS)


@pytest.mark.parametrize(
    "response",
    [
        lambda: refused("invalid_grant", 70000),
        lambda: refused("invalid_request", 9002313),
        lambda: refused("interaction_required", 50079, claims='{"access_token":{"a":{}}}'),
        lambda: refused("invalid_grant", 65001),
        lambda: refused("something_new", 1),
        lambda: granted("fabric", id_token=mint(claims(nonce="strange"))),
    ],
    ids=["no code of ours", "no code at all", "step up", "consent", "nobody knows", "another sign-in's"],
)
async def test_nobody_opens_the_circuit_by_what_they_bring(response: Callable[[], httpx.Response]) -> None:
    """Codes by the dozen, and people with whom Entra is not content: others go on."""
    asked = 0

    def grant(form: dict[str, str]) -> httpx.Response:
        return response() if form.get("assertion") != "bob" else for_whom(form)

    async with gateway(grant) as made:
        for _ in range(3 * LEAST_OUTCOMES):
            with pytest.raises(GatewayError):
                await redeemed(made)
            with suppress(GatewayError):
                await made.entra.on_behalf_of(TENANT, "alice", FABRIC)
            asked += 2
        assert made.circuit.state == "closed"
        assert len(made.endpoint.requests) == asked
        assert (await made.entra.on_behalf_of(TENANT, "bob", FABRIC)).access_token == "token of bob"


async def test_a_full_queue_tells_nothing_of_entras_health() -> None:
    """Who was not let in has not asked."""
    async with gateway(lambda _: refused("invalid_grant", 70008)) as made:
        await asyncio.gather(*(redeemed(made) for _ in range(100)), return_exceptions=True)
        assert made.circuit.state == "closed"


def state(circuit: Circuit) -> str:
    """Its state; asked for again each time, which a type checker does not expect of an attribute."""
    return circuit.state


async def redeemed(made: Gateway, code: str = "code") -> module.Token:
    """The tokens of one code."""

    async def spend() -> None:
        made.spent.append(code)

    return await made.entra.redeem(
        code,
        spend,
        redirect_uri="https://ask.contoso.com/callback",
        scope=FABRIC,
        nonce="nonce",
        code_verifier="verifier",
    )
