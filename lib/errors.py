"""Every failure a caller can meet, in one tree: each class fixes a status, a `code` and a title.

GatewayError                        500 internal_error
├── InvalidRequest                  400 invalid_request
│   ├── PayloadTooLarge             413 payload_too_large
│   ├── UnsupportedMediaType        415 unsupported_media_type
│   ├── NotAcceptable               406 not_acceptable
│   ├── MethodNotAllowed            405 method_not_allowed
│   ├── NotFound                    404 not_found
│   ├── OperationExpired            410 operation_expired
│   ├── OperationCancelled          410 operation_cancelled
│   ├── AgentUnknown                404 agent_unknown
│   ├── LoginFailed                 400 login_failed
│   └── IdempotencyConflict         422 idempotency_conflict
│       └── IdempotencyInProgress   409 idempotency_conflict
├── Unauthenticated                 401
│   ├── TokenMissing                    token_missing
│   ├── TokenInvalid                    token_invalid
│   ├── TokenExpired                    token_expired
│   ├── SessionExpired                  session_expired
│   │   └── SessionForged               session_expired
│   ├── ReauthRequired                  reauth_required
│   └── StepUpRequired                  step_up_required
├── Forbidden                       403
│   ├── CsrfRejected                    csrf_rejected
│   ├── OriginRejected                  origin_rejected
│   ├── InsufficientScope               insufficient_scope
│   ├── UserRequired                    user_required
│   ├── GuestRejected                   guest_rejected
│   ├── ConsentRequired                 consent_required
│   └── AgentAccessDenied               agent_access_denied
├── TooManyRequests                 429
│   ├── RateLimited                     rate_limited
│   │   └── TooManyFailures             rate_limited
│   └── TooManyInFlight                 too_many_in_flight
├── UpstreamError                   502
│   ├── AgentFailed                     agent_failed
│   ├── AgentNotPublished               agent_not_published
│   ├── OutcomeUnknown                  outcome_unknown
│   ├── AgentUnavailable            503 agent_unavailable
│   │   └── AgentBusy                   agent_unavailable
│   ├── AgentPaused                 503 circuit_open
│   ├── CapacityExceeded            503 capacity_exceeded
│   └── DeadlineExceeded            504 deadline_exceeded
└── Unavailable                     503
    ├── IdentityProviderUnavailable     identity_provider_unavailable
    ├── ClientCredentialRejected        client_credential_rejected
    ├── StateUnavailable                state_unavailable
    │   └── ReducedCapacity             state_unavailable
    └── NotReady                        not_ready

A class below another with the same code differs in the registered problem type alone, or in the status.
A `detail` is written here, for the caller: it never holds a library's text, a token, a claim or a question.
The cause travels by `raise … from`, and is logged once, at the boundary (`lib.web.serve`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class GatewayError(Exception):
    """A failure that becomes a problem+json reply (RFC 9457).

    `members` are extension members of the problem, `headers` go along with the reply; `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The gateway failed"
    default_detail: ClassVar[str] = "Something went wrong here. Quote the trace id when you report it."
    registered_type: ClassVar[str] = ""
    """The problem type of IANA's registry that says the same, where there is one."""
    own: ClassVar[tuple[str, ...]] = ()
    """The names of further attributes that the reply is made of."""
    default_retry_after: ClassVar[int | None] = None
    """What the reply says, in seconds, where nobody has told how long it takes."""

    def __init__(
        self, detail: str | None = None, *, retry_after: int | None = None, members: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail or self.default_detail)
        self.detail = detail or self.default_detail
        self.retry_after = retry_after
        self.members = dict(members or {})
        self.headers: tuple[tuple[str, str], ...] = ()

    @property
    def type_uri(self) -> str:
        """What RFC 9457 calls `type`: the registered one, or one of our own that names the `code`."""
        return self.registered_type or f"urn:fabric-gateway:problem:{self.code}"


class InvalidRequest(GatewayError):
    """The request breaks the contract; repeating it unchanged cannot help."""

    status = 400
    code = "invalid_request"
    title = "The request is not valid"
    default_detail = "The request breaks the contract of this endpoint."


class PayloadTooLarge(InvalidRequest):
    """The body is longer than the endpoint takes."""

    status = 413
    code = "payload_too_large"
    title = "The body is too large"
    default_detail = "The body is longer than this endpoint takes."


class UnsupportedMediaType(InvalidRequest):
    """The body's media type, or its encoding, is not what the endpoint reads."""

    status = 415
    code = "unsupported_media_type"
    title = "The media type is not supported"
    default_detail = "Send the body as application/json in UTF-8, without a content encoding."


class NotAcceptable(InvalidRequest):
    """The reply has no form that the caller takes."""

    status = 406
    code = "not_acceptable"
    title = "No form of the reply is acceptable"
    default_detail = "The endpoint has no media type that `Accept` takes."


class MethodNotAllowed(InvalidRequest):
    """The path exists, the method does not; `allowed` becomes the `Allow` header."""

    status = 405
    code = "method_not_allowed"
    title = "The method is not allowed"
    default_detail = "This path does not know that method; `Allow` lists those it knows."
    own = ("allowed",)

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__()
        self.allowed = allowed


class NotFound(InvalidRequest):
    """There is nothing at that path."""

    status = 404
    code = "not_found"
    title = "There is nothing here"
    default_detail = "This path does not exist."


class OperationExpired(InvalidRequest):
    """The question was not answered in its time, or its answer is kept no longer."""

    status = 410
    code = "operation_expired"
    title = "The operation has expired"
    default_detail = "The question was not taken up or answered in time, or its answer is no longer kept. Ask again."


class OperationCancelled(InvalidRequest):
    """The question was given up before it was answered."""

    status = 410
    code = "operation_cancelled"
    title = "The operation was cancelled"
    default_detail = "The question was given up before it was answered."


class AgentUnknown(InvalidRequest):
    """The request names an agent that the gateway does not know; `agents` lists those it does."""

    status = 404
    code = "agent_unknown"
    title = "The agent is not known"
    default_detail = "No agent has that name; `agents` lists the names you may use."


class LoginFailed(InvalidRequest):
    """A sign-in did not come to its end: it was declined, is too old, or was not begun in this browser."""

    status = 400
    code = "login_failed"
    title = "The sign-in failed"
    default_detail = "The sign-in was declined, took too long or was begun in another browser. Begin it again."


class IdempotencyConflict(InvalidRequest):
    """The idempotency key came with another request before.

    The statuses are those of draft-ietf-httpapi-idempotency-key-header, section 2.7.
    """

    status = 422
    code = "idempotency_conflict"
    title = "The idempotency key is taken"
    default_detail = "This `Idempotency-Key` belongs to an earlier request with another content. Use a new one."


class IdempotencyInProgress(IdempotencyConflict):
    """The request that the idempotency key came with first is still under way."""

    status = 409
    default_detail = "The first request with this `Idempotency-Key` is still under way. Repeat it after `Retry-After`."


class Unauthenticated(GatewayError):
    """Nobody is signed in, or no longer."""

    status = 401
    title = "Sign in first"


class TokenMissing(Unauthenticated):
    """The request brings neither an access token nor a session."""

    code = "token_missing"
    default_detail = "Bring an access token in `Authorization: Bearer`, or sign in for a session cookie."


class TokenInvalid(Unauthenticated):
    """The access token is not one this gateway accepts."""

    code = "token_invalid"
    title = "The access token is not valid"
    default_detail = "The access token was not issued for this gateway, or cannot be trusted."


class TokenExpired(Unauthenticated):
    """The access token was good once."""

    code = "token_expired"
    title = "The access token has expired"
    default_detail = "Get a new access token and ask again."


class SessionExpired(Unauthenticated):
    """The session has ended: signed out, idle for too long, or past its absolute end."""

    code = "session_expired"
    title = "The session has ended"
    default_detail = "Sign in again."


class SessionForged(SessionExpired):
    """The session cookie was not made here: no session was ever behind it."""


class ReauthRequired(Unauthenticated):
    """Entra wants the person to sign in again: the grant behind the request was revoked or is too old."""

    code = "reauth_required"
    title = "Sign in again"
    default_detail = "The identity provider no longer accepts this sign-in. Sign in again."


class StepUpRequired(Unauthenticated):
    """Entra or Fabric wants more than the sign-in proved (multi-factor, a compliant device).

    `claims` is the JSON text of the claims request to hand back to Entra
    (https://learn.microsoft.com/entra/identity-platform/claims-challenge). A caller who cannot do that themselves,
    since the gateway signed them in, goes to `login_url`.
    """

    code = "step_up_required"
    title = "The sign-in must be stronger"
    default_detail = "Sign in again with the claims of the challenge in `WWW-Authenticate`."
    own = ("claims", "login_url")

    def __init__(self, claims: str, *, login_url: str = "") -> None:
        super().__init__(
            "Go to `login_url` and sign in again." if login_url else None,
            members={"login_url": login_url} if login_url else None,
        )
        self.claims = claims
        self.login_url = login_url


class Forbidden(GatewayError):
    """The caller is known and may not do this."""

    status = 403
    title = "This is not allowed"


class CsrfRejected(Forbidden):
    """A change by cookie came without the header that a foreign page cannot send."""

    code = "csrf_rejected"
    default_detail = "A request that is signed in by cookie and changes something needs the header `X-CSRF: 1`."


class OriginRejected(Forbidden):
    """A change by cookie came from a page that is not on the list of origins."""

    code = "origin_rejected"
    default_detail = "Pages of this origin may not use the gateway."


class InsufficientScope(Forbidden):
    """The token lacks the scope or the role that the gateway asks for; `scope` names the one to get."""

    code = "insufficient_scope"
    title = "The token does not allow this"
    default_detail = "The token lacks what this gateway asks for; `WWW-Authenticate` names it."
    own = ("scope",)

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope


class UserRequired(Forbidden):
    """An app asked an agent that only answers people."""

    code = "user_required"
    default_detail = "This agent answers people only: call it with a token that a person signed in for."


class GuestRejected(Forbidden):
    """The person is a guest of the tenant, and the gateway is for its members."""

    code = "guest_rejected"
    default_detail = "The gateway is for members of the organisation; you are signed in as a guest."


class ConsentRequired(Forbidden):
    """Nobody has yet allowed the gateway to call Fabric for this person.

    `admin_consent_url` is where an administrator of the person's tenant can, if it is known
    (https://learn.microsoft.com/entra/identity-platform/v2-admin-consent).
    """

    code = "consent_required"
    title = "Consent is missing"
    default_detail = "The gateway may not yet call Fabric for you. An administrator has to consent to it once."

    def __init__(self, *, admin_consent_url: str = "") -> None:
        super().__init__(members={"admin_consent_url": admin_consent_url} if admin_consent_url else None)


class AgentAccessDenied(Forbidden):
    """Fabric knows the person and does not let them use the agent."""

    code = "agent_access_denied"
    default_detail = "Fabric does not let you use this agent. Ask its owner to share it with you."


class TooManyRequests(GatewayError):
    """The caller has had their share; `members["violated-policies"]` names the limits that say so.

    The problem type is that of draft-ietf-httpapi-ratelimit-headers, section 5.
    """

    status = 429
    title = "Too many requests"
    registered_type = "https://iana.org/assignments/http-problem-types#quota-exceeded"

    def __init__(self, *policies: str, retry_after: int) -> None:
        super().__init__(retry_after=retry_after, members={"violated-policies": list(policies)})


class RateLimited(TooManyRequests):
    """More was asked in a time than the limit for it allows."""

    code = "rate_limited"
    default_detail = "You have asked more than your limit allows. Ask again once `Retry-After` has passed."


class TooManyFailures(RateLimited):
    """One address has sent too many credentials that are not genuine, or failed to sign in too often."""

    registered_type = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
    default_detail = "Too many sign-ins from your address have failed. Try again once `Retry-After` has passed."


class TooManyInFlight(TooManyRequests):
    """As many questions of the caller as may be under way at once are under way."""

    code = "too_many_in_flight"
    default_detail = "Your earlier questions are still being answered. Ask again once one of them is."


class UpstreamError(GatewayError):
    """The data agent, or the way to it, failed."""

    status = 502
    title = "The data agent failed"


class AgentFailed(UpstreamError):
    """The agent took the question and produced no answer, or something that is not one."""

    code = "agent_failed"
    default_detail = "The data agent could not answer. Rephrase the question, or try again later."


class AgentNotPublished(UpstreamError):
    """The agent exists but its owner has not published it."""

    code = "agent_not_published"
    title = "The data agent is not published"
    default_detail = "The data agent has no published version. Its owner has to publish it in Fabric."


class OutcomeUnknown(UpstreamError):
    """The agent was asked, and nobody has written down what became of it: it is not asked again by itself."""

    code = "outcome_unknown"
    title = "The outcome is not known"
    default_detail = (
        "It is not known whether the agent answered; the gateway does not ask it again by itself. To do so, "
        "send the question as a new one."
    )


class AgentUnavailable(UpstreamError):
    """The agent could not be reached."""

    status = 503
    code = "agent_unavailable"
    title = "The data agent cannot be reached"
    default_detail = "The data agent cannot be reached at the moment. Try again shortly."


class AgentBusy(AgentUnavailable):
    """As many questions to the agent are under way here as it bears at the moment."""

    registered_type = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    default_detail = "The data agent has as many questions as it can take at the moment. Try again shortly."


class AgentPaused(UpstreamError):
    """The agent has failed too often lately: it is left alone for a while, and then tried by one question."""

    status = 503
    code = "circuit_open"
    title = "The data agent is left alone for a moment"
    default_detail = "The data agent has failed repeatedly and is left alone. Ask again once `Retry-After` has passed."


class CapacityExceeded(UpstreamError):
    """Fabric refuses work: the capacity is overloaded, throttled or paused."""

    status = 503
    code = "capacity_exceeded"
    title = "The Fabric capacity is exhausted"
    default_detail = "The Fabric capacity behind the agent is overloaded or paused. Try again later."


class DeadlineExceeded(UpstreamError):
    """The answer did not come in time; whether the agent finished is not known."""

    status = 504
    code = "deadline_exceeded"
    title = "The answer took too long"
    default_detail = "The data agent did not answer in time. Ask something narrower, or try again."


class Unavailable(GatewayError):
    """Something that the gateway stands on is away; the request itself may be fine."""

    status = 503
    title = "The gateway cannot serve this now"
    default_retry_after = 5


class IdentityProviderUnavailable(Unavailable):
    """Entra cannot be reached, or answers with failures."""

    code = "identity_provider_unavailable"
    default_detail = "The identity provider cannot be reached at the moment. Try again shortly."


class ClientCredentialRejected(Unavailable):
    """Entra refuses the gateway's own credential: a matter for those who operate it."""

    code = "client_credential_rejected"
    default_detail = "The gateway cannot prove its own identity. Those who operate it have been told."
    default_retry_after = 60


class StateUnavailable(Unavailable):
    """Table Storage or Key Vault cannot be reached."""

    code = "state_unavailable"
    default_detail = "The gateway's own storage cannot be reached at the moment. Try again shortly."


class ReducedCapacity(StateUnavailable):
    """Table Storage is away, and this instance's share of the caller's limits is used up."""

    registered_type = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    default_detail = "The gateway's own storage is away, and until it is back you may ask little. Try again later."


class NotReady(Unavailable):
    """The gateway's settings are wrong; its log lists every problem."""

    code = "not_ready"
    default_detail = "The gateway is not configured correctly. Its log lists every problem."
    default_retry_after = 60
