"""How this room uses the Azure SDK's clients: short waits, no repeats but those asked for, no logs of theirs.

The SDK's own settings suit a batch job: 300 s for a connection, repeats over minutes, and a `Retry-After` obeyed
however long it is. Its log lines hold addresses, and those name rows and secrets.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from azure.core.exceptions import AzureError

from lib.errors import StateUnavailable
from lib.storage.rows import Conflict

_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
CALL_SECONDS = 6
"""The longest one call may take, with its token, its repeat and whatever wait the service asks for.

A first call waits for the managed identity's token as well, which takes seconds on a cold instance: a shorter bound
would make outages out of cold starts.
"""

_log = logging.getLogger(__name__)
_silent = logging.getLogger(f"{__name__}.http")
_silent.disabled = True

OPTIONS: dict[str, Any] = {
    "connection_timeout": 2,
    "read_timeout": 3,
    "retry_total": 0,
    "permit_redirects": False,
    "use_env_settings": False,
    "logger": _silent,
}
"""Keyword arguments for every client.

A connection outlives one lost packet, which TCP sends again after a second (RFC 6298, section 2), and a reply one slow
moment of a service that mostly takes milliseconds, or of this instance. Of a service that is silent a write learns
within 3 s and a read, with its repeat, within `CALL_SECONDS`; of one that refuses connections, at once.
"""

ONCE_MORE: dict[str, Any] = {"retry_total": 1}
"""Keyword arguments for a call that may be repeated: it only reads, or doing it twice is as good as once."""


class ServiceDown(StateUnavailable):
    """The service does not answer, or fails: the next call would fare no better."""


@asynccontextmanager
async def one_call(*, seconds: float | None = None, **facts: str) -> AsyncIterator[None]:
    """Bounds one call to a service and turns each failure into `StateUnavailable`; `facts` go to the log with it.

    It is a `ServiceDown` where the service is away, throttles or fails, whatever it was called for. The SDK makes any
    exception at all of an odd reply: nothing but its call belongs in here, or a fault of ours would look like one.
    `seconds` takes the place of `CALL_SECONDS`.
    """
    try:
        async with asyncio.timeout(seconds or CALL_SECONDS):
            yield
    except (StateUnavailable, Conflict):
        raise
    except Exception as fault:
        status = getattr(fault, "status_code", None)
        _log.warning("a call to Azure failed", extra={"fault": type(fault).__name__, "status": status} | facts)
        raise (ServiceDown if _is_down(fault, status) else StateUnavailable) from fault


def _is_down(fault: Exception, status: int | None) -> bool:
    if status is None:
        return isinstance(fault, (AzureError, OSError))
    return status >= _SERVER_ERRORS or status == _TOO_MANY_REQUESTS
