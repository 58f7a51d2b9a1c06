"""Tokens from Entra: msal's confidential client, called so that no call sees anything of another.

msal works in threads of its own pool, which is also the limit on requests under way. Who has waited too long leaves,
and the thread ends by its own timeout. Each tenant has one application, built anew when the client's credential
changes.
"""

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from msal.application import ConfidentialClientApplication

from lib.errors import (
    ClientCredentialRejected,
    ConsentRequired,
    Forbidden,
    GatewayError,
    IdentityProviderUnavailable,
    LoginFailed,
    ReauthRequired,
    Unauthenticated,
)
from lib.identity.authorization import CAPABILITIES, OPENID_SCOPES, admin_consent_url, authority, claims_request
from lib.identity.credentials import ClientCredential, MsalCredential
from lib.identity.msal_http import CONNECTIONS, TIMEOUT_SECONDS, MsalHttp, NoReplies, NoTokens
from lib.identity.refusals import refusal
from lib.settings import Settings
from lib.traffic.circuit import Circuit, CircuitOpen
from lib.traffic.deadline import Deadline
from lib.traffic.retries import retry

if TYPE_CHECKING:
    import httpx

DEADLINE_SECONDS = 2 * TIMEOUT_SECONDS
"""How long a caller waits for a token: the queue for a thread and a second attempt included."""
REDEMPTIONS = 4
"""Codes are redeemed in threads of their own: anybody can bring one, and must not be in the way of those signed in."""
MOST_WAITING = 8
"""How many may wait for such a thread: at half a second for each code, the last of them waits for a second. Who comes
behind them hears at once that there is no place, instead of after the deadline."""
BUSY_SECONDS = 2
"""After that long it is worth coming again."""

type Application = Any
"""A `ConfidentialClientApplication`: msal has no types."""
type Grant = Callable[[Application], Any]
type Spend = Callable[[], Awaitable[None]]
"""Uses a sign-in up, whose code is redeemed next."""


@dataclass(frozen=True)
class Token:
    """Tokens from Entra. `expires_at` (seconds since the epoch) is the access token's; `id_token` is not validated."""

    access_token: str = field(repr=False)
    expires_at: float
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)


class _Refused(Exception):
    """Entra has answered, and refused: it is there, and the same would not be answered otherwise a second time."""

    def __init__(self, fault: GatewayError) -> None:
        super().__init__()
        self.fault = fault


class EntraClient:
    """The gateway as a client of Entra.

    Whatever asks for a token raises `StepUpRequired`, `ConsentRequired`, `TokenExpired` or `ReauthRequired` where the
    person has to do something, `ClientCredentialRejected` where those who operate the gateway have to, and
    `IdentityProviderUnavailable`.

    While requests fail, or the gateway's credential is rejected, Entra is left alone (its circuit is open): what was
    raised last is raised at once, with `retry_after`. All other refusals tell nothing of Entra's health, so that
    nobody opens the circuit by what they bring.
    """

    def __init__(
        self,
        settings: Settings,
        credential: ClientCredential,
        *,
        transport: "httpx.BaseTransport | None" = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        circuit: Circuit | None = None,
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._now = now
        self._sleep = sleep
        self._circuit = circuit or Circuit("entra")
        self._failing: type[IdentityProviderUnavailable | ClientCredentialRejected] = IdentityProviderUnavailable
        self._http = MsalHttp(settings.entra_authority_host, transport)
        self._threads = ThreadPoolExecutor(CONNECTIONS - REDEMPTIONS, thread_name_prefix="entra")
        self._redemptions = ThreadPoolExecutor(REDEMPTIONS, thread_name_prefix="entra-redeem")
        self._redeeming = 0
        self._applications: dict[str, Application] = {}
        self._building = threading.Lock()

    async def on_behalf_of(self, tenant_id: str, assertion: str, scope: str) -> Token:
        """A token for `scope` in the name of the person whose access token for the gateway is `assertion`."""
        return await self._ask(tenant_id, lambda app: app.acquire_token_on_behalf_of(assertion, [scope]))

    async def refresh(self, tenant_id: str, refresh_token: str, scope: str, *, claims: str = "") -> Token:
        """A token for `scope` in the name of the person who once signed in; usually with a new refresh token.

        `claims` is the claims request (JSON) that the sign-in has answered: without it the token would lack them again.
        """
        data = {"claims": claims_request(claims)}
        return await self._ask(
            tenant_id, lambda app: app.acquire_token_by_refresh_token(refresh_token, [scope], data=dict(data))
        )

    async def for_app(self, scope: str) -> Token:
        """A token for `scope` in the gateway's own name. What Entra would ask of a person it cannot ask of an app."""
        try:
            return await self._ask(self._settings.tenant_id, lambda app: app.acquire_token_for_client([scope]))
        except (Unauthenticated, Forbidden) as fault:
            raise ClientCredentialRejected from fault

    async def redeem(
        self, code: str, spend: Spend, *, redirect_uri: str, scope: str, nonce: str, code_verifier: str
    ) -> Token:
        """The tokens that an authorization code stands for.

        `spend` is awaited where there is a place to redeem it, and Entra is not left alone: who comes in vain uses
        nothing up. `nonce` is the value whose SHA-256, in hex, the authorization request carried: msal compares it so.
        Raises `LoginFailed` too, where the reply belongs to another sign-in, or where Entra refuses for a reason that
        is not known here: all that a caller brings is the code.
        """
        outcome = {"code": code, "state": "-"}
        flow = {
            "state": "-",  # compared by the caller, who has the browser's cookie
            "redirect_uri": redirect_uri,
            "scope": [scope, *OPENID_SCOPES],
            "nonce": nonce,
            "code_verifier": code_verifier,
        }

        def grant(app: Application) -> Any:
            try:
                return app.acquire_token_by_auth_code_flow(flow, outcome)
            except RuntimeError:  # the nonce of the id token is another, and the text quotes both
                raise LoginFailed from None

        with self._place_to_redeem():
            return await self._ask(self._settings.tenant_id, grant, spend)

    def close(self) -> None:
        """Ends the threads and connections; who still waits is left to their deadline."""
        for threads in (self._threads, self._redemptions):
            threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    @contextmanager
    def _place_to_redeem(self) -> Iterator[None]:
        if self._redeeming >= REDEMPTIONS + MOST_WAITING:
            raise IdentityProviderUnavailable(retry_after=BUSY_SECONDS)
        self._redeeming += 1
        try:
            yield
        finally:
            self._redeeming -= 1

    async def _ask(self, tenant_id: str, grant: Grant, spend: Spend | None = None) -> Token:
        if tenant_id not in self._settings.allowed_tenants:  # a session may be older than the list
            raise ReauthRequired

        work = partial(self._attempt, tenant_id, grant, spend)
        attempts = 1 if spend else 2  # a code is good once
        deadline = Deadline.after(DEADLINE_SECONDS)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await retry(
                    work,
                    on=(IdentityProviderUnavailable,),
                    attempts=attempts,
                    deadline=deadline,
                    peer="entra",
                    sleep=self._sleep,
                )
        except TimeoutError:
            raise IdentityProviderUnavailable from None
        except _Refused as refused:
            raise refused.fault from None
        except CircuitOpen as fault:
            raise self._failing(retry_after=math.ceil(fault.retry_after)) from fault

    async def _attempt(self, tenant_id: str, grant: Grant, spend: Spend | None) -> Token:
        """One request. Raises `_Refused` for what it would be of no use to ask again."""
        credential, asked_at = await self._credential.current(), self._now()
        threads = self._redemptions if spend else self._threads
        try:
            with self._circuit.attempt(IdentityProviderUnavailable, ClientCredentialRejected):
                if spend:
                    await spend()
                reply = await self._in_thread(threads, lambda: grant(self._application(tenant_id, credential)))
                if "error" in reply:
                    raise self._refused(
                        tenant_id, refusal(reply, LoginFailed if spend else IdentityProviderUnavailable)
                    )
                return _token(reply, asked_at)
        except (IdentityProviderUnavailable, ClientCredentialRejected) as failure:
            self._failing = type(failure)
            if isinstance(failure, ClientCredentialRejected):
                self._credential.reject()
            raise

    def _refused(self, tenant_id: str, fault: GatewayError) -> Exception:
        """What to raise for a refusal: a rejected credential counts for the circuit, whatever else it is does not."""
        if isinstance(fault, ClientCredentialRejected):
            return fault
        if isinstance(fault, ConsentRequired):
            fault = ConsentRequired(admin_consent_url=admin_consent_url(self._settings, tenant_id))
        return _Refused(fault)

    async def _in_thread[T](self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        context = contextvars.copy_context()  # what the thread logs belongs to the request
        return await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(work))

    def _application(self, tenant_id: str, credential: MsalCredential) -> Application:
        with self._building:
            known = self._applications.get(tenant_id)
            if known is None or known.client_credential is not credential:
                known = self._applications[tenant_id] = self._build(tenant_id, credential)
            return known

    def _build(self, tenant_id: str, credential: MsalCredential) -> Application:
        return ConfidentialClientApplication(  # type: ignore[no-untyped-call]  # msal has no types
            self._settings.client_id,
            client_credential=credential,
            authority=authority(self._settings, tenant_id),
            instance_discovery=False,
            azure_region=False,  # None would ask the environment
            client_capabilities=CAPABILITIES,
            http_client=self._http,
            http_cache=NoReplies(),
            token_cache=NoTokens(),  # type: ignore[no-untyped-call]  # msal has no types
        )


def _token(reply: dict[str, Any], asked_at: float) -> Token:
    """The tokens of a reply; the time is counted from the question, so that it is never too long."""
    access_token, refresh_token, id_token = (reply.get(name) for name in ("access_token", "refresh_token", "id_token"))
    seconds = reply.get("expires_in")
    texts = all(isinstance(text, str | None) for text in (refresh_token, id_token))
    if not isinstance(access_token, str) or not access_token or not isinstance(seconds, int) or not texts:
        raise IdentityProviderUnavailable
    return Token(access_token, asked_at + seconds, refresh_token, id_token)
