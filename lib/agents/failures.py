"""What a data agent's refusal means to the caller: status, error code and headers in, an error of our tree out.

What Fabric says is only ever compared, never passed on. `errorCode` is the stable part of its error body
(https://learn.microsoft.com/rest/api/fabric/articles/item-management/troubleshoot); the same words also come as the
message of a JSON-RPC error, inside any HTTP status, and as the text of an answer that is none.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from lib.agents.wire import read_json, write_json
from lib.errors import (
    AgentAccessDenied,
    AgentBusy,
    AgentFailed,
    AgentNotPublished,
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    DeadlineExceeded,
    Forbidden,
    GatewayError,
    InvalidRequest,
    StepUpRequired,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)

MAX_CLAIMS = 4096
MAX_RETRY_AFTER = 3600
MAX_SAID = 1_000


class FabricTokenRejected(AgentUnavailable):
    """Fabric does not accept the token: a new one may do, so it is evicted and the agent asked once more."""

    default_detail = "Fabric does not accept the gateway's tokens. Those who operate the gateway have to look into it."


class AddressUnknown(AgentUnavailable):
    """There is no such agent at the address, or not in the tenant that the token is from. Nothing was processed."""

    default_detail = (
        "The gateway's address of this agent leads nowhere. Those who operate the gateway have to correct it."
    )


class ToolUnknown(AgentFailed):
    """The agent has no such tool, or not with such arguments: it was published anew. Nothing was processed."""


class TaskUnknown(AgentFailed):
    """The agent has no such task for this caller: it was never theirs, its time has passed, or it was let go."""

    default_detail = "The data agent no longer knows what became of the question. Ask it again."


class TaskFailed(Exception):
    """The task has come to its end without an answer, by `fault`: another look would find the same."""

    def __init__(self, fault: UpstreamError) -> None:
        super().__init__()
        self.fault = fault


class Unreached(AgentUnavailable):
    """The request was never sent, or turned away with a time to come back: nothing was processed."""


class ServerFault(AgentUnavailable):
    """The request was sent and the server failed, or the connection broke: what was processed is not known."""


class Throttled(CapacityExceeded):
    """Too many requests, with a time to come back (429): nothing was processed."""


class CapacityPaused(CapacityExceeded):
    """The capacity is switched off: it does not come back by itself."""


class Blocked(Throttled):
    """The caller's own quota is used up (`RequestBlocked`), which is nobody else's: Fabric throttles by identity.

    https://learn.microsoft.com/rest/api/fabric/articles/throttling
    """


NOT_PROCESSED = (
    Unauthenticated,
    Forbidden,
    InvalidRequest,
    TooManyRequests,
    Unavailable,
    AgentNotPublished,
    AgentPaused,
    AgentBusy,
    CapacityExceeded,
    FabricTokenRejected,
    AddressUnknown,
    ToolUnknown,
    Unreached,
)
"""What a question met that the agent has not worked on: whoever asked may ask again, and nothing was paid for."""

_SAID: Mapping[str, type[UpstreamError]] = {  # how a code or a message begins
    "stage configuration not found": AgentNotPublished,
    "dataagentnotpublished": AgentNotPublished,
    "capacitylimitexceeded": CapacityExceeded,
    "capacitynotactive": CapacityPaused,
    "fabricthrottled": CapacityExceeded,
    "toomanyrequestsforcapacity": CapacityExceeded,
    "your organization's fabric compute capacity has exceeded its limits": CapacityExceeded,
    "entitynotfound": AddressUnknown,
    "itemnotfound": AddressUnknown,
    "unknown tool": ToolUnknown,
}
_RPC_CODES: Mapping[int | None, type[UpstreamError]] = {
    -32601: AddressUnknown,  # method not found: another kind of endpoint
    -32602: ToolUnknown,  # invalid params
}
_TURNED_AWAY: Mapping[int, type[UpstreamError]] = {429: Throttled, 503: Unreached}
_BLOCKED = "requestblocked"
_STATUSES: Mapping[int, type[GatewayError]] = {
    403: AgentAccessDenied,
    404: AddressUnknown,
    408: DeadlineExceeded,
    429: CapacityExceeded,
    430: CapacityExceeded,
    504: DeadlineExceeded,
}


def failure(status: int, headers: Mapping[str, str], said: Any = None, rpc_code: int | None = None) -> GatewayError:
    """The error for a reply of `status` whose body says `said` (parsed JSON), with the code of a JSON-RPC error.

    A 401 is about the token, whatever the body says; else what the body says goes before the status.
    """
    if status == 401:  # noqa: PLR2004  # 401 is a word of its own
        return _token_refused(headers.get("www-authenticate", ""))
    retry_after = _retry_after(headers)
    words = [headers.get("x-ms-public-api-error-code", "").casefold(), *_said(said)]
    blocked = status == 429 and any(word.startswith(_BLOCKED) for word in words)  # noqa: PLR2004  # a word as well
    kind = (
        _meaning(words)
        or _RPC_CODES.get(rpc_code)
        or (Blocked if blocked else None)
        or (_TURNED_AWAY.get(status) if retry_after else None)
        or _STATUSES.get(status)
        or (AgentFailed if status // 100 in {2, 4} else ServerFault)
    )
    return kind(retry_after=retry_after)


def failed_answer(said: Any) -> UpstreamError:
    """The error for a call that came back as an answer which is none: `said` is its text or the JSON in it."""
    return (_meaning(_said(said)) or AgentFailed)()


def _said(value: Any) -> Iterator[str]:
    """The codes and messages within `value`, in small letters; what is more than a failure has is not looked at."""
    pending = [value]
    for _ in range(MAX_SAID):
        if not pending:
            return
        value = pending.pop()
        if isinstance(value, str):
            yield value.strip().casefold()
        elif isinstance(value, list):
            pending += [item for item in value if not isinstance(item, str)]
        elif isinstance(value, dict):
            pending += [
                item
                for key, item in value.items()
                if not isinstance(item, str) or key in {"errorCode", "code", "message", "error"}
            ]


def _meaning(said: Iterable[str]) -> type[UpstreamError] | None:
    return next((kind for text in said for start, kind in _SAID.items() if text.startswith(start)), None)


def _token_refused(challenge: str) -> StepUpRequired | FabricTokenRejected:
    """A claims challenge asks for a stronger sign-in, any other 401 for another token.

    https://learn.microsoft.com/entra/identity-platform/claims-challenge
    """
    encoded = re.search(r'\bclaims="([A-Za-z0-9+/_=-]+)"', challenge)
    if encoded is None or not re.search(r'\berror="?insufficient_claims\b', challenge):
        return FabricTokenRejected()
    try:
        decoded = base64.b64decode(encoded[1] + "=" * (-len(encoded[1]) % 4), altchars=b"-_")
        claims = read_json(decoded)
        if len(decoded) > MAX_CLAIMS or not isinstance(claims, dict) or "access_token" not in claims:
            return FabricTokenRejected()
        return StepUpRequired(write_json(claims))
    except ValueError:
        return FabricTokenRejected()


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """`Retry-After` in seconds, from 1 to 3600; a date counts from the reply's own `Date` (RFC 9110 section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        seconds = int(value)
    else:
        try:
            until, sent = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
            seconds = round((until - sent).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 1), MAX_RETRY_AFTER)
