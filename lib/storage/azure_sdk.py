"""How this room uses the Azure SDK's clients: short waits, no repeats but those asked for, no logs of theirs.

The SDK's own settings suit a batch job: 300 s for a connection, repeats over minutes, and a `Retry-After` obeyed
however long it is. Its log lines hold addresses, and those name rows and secrets.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lib.errors import StateUnavailable
from lib.storage.rows import Conflict

_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
CALL_SECONDS = 6
"""The longest one call may take, with its token, its repeat and whatever wait the service asks for."""

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
"""Keyword arguments for every client."""

ONCE_MORE: dict[str, Any] = {"retry_total": 1}
"""Keyword arguments for a call that may be repeated: it only reads, or doing it twice is as good as once."""


class ServiceDown(StateUnavailable):
    """The service does not answer, or fails: the next call would fare no better."""


@asynccontextmanager
async def one_call(**facts: str) -> AsyncIterator[None]:
    """Bounds one call to a service and turns each failure into `StateUnavailable`; `facts` go to the log with it.

    It is a `ServiceDown` where it is none of the call's own.
    """
    try:
        async with asyncio.timeout(CALL_SECONDS):
            yield
    except (StateUnavailable, Conflict):
        raise
    except Exception as fault:  # the SDK makes anything at all of an odd reply
        status = getattr(fault, "status_code", None)
        _log.warning("a call to Azure failed", extra={"fault": type(fault).__name__, "status": status} | facts)
        is_down = status is None or status >= _SERVER_ERRORS or status == _TOO_MANY_REQUESTS
        raise (ServiceDown if is_down else StateUnavailable) from fault
