"""How this room uses the Azure SDK's clients: short waits, no repeats but those asked for, no logs of theirs.

The SDK's own settings suit a batch job: 300 s for a connection, repeats over minutes, and a `Retry-After` obeyed
however long it is. Its log lines hold addresses, and those name rows and secrets.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from azure.core.exceptions import AzureError
from azure.core.settings import settings

from lib.errors import StateUnavailable
from lib.storage.rows import Conflict
from lib.telemetry import metrics
from lib.telemetry.signals import Value, count, measure, span

settings.tracing_enabled = False
"""Each call has a span of ours, below. Left alone the SDK looks for a tracer's package at each call, in vain."""

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
    "auto_request_id": False,
    "logger": _silent,
}
"""Keyword arguments for every client.

A connection outlives one lost packet, which TCP sends again after a second (RFC 6298, section 2), and a reply one slow
moment of a service that mostly takes milliseconds, or of this instance. Of a service that is silent a write learns
within 3 s and a read, with its repeat, within `CALL_SECONDS`; of one that refuses connections, at once.

Nobody reads the ids that the SDK would give to requests: each a UUID of version 1, for which Linux locks a file.
"""

ONCE_MORE: dict[str, Any] = {"retry_total": 1}
"""Keyword arguments for a call that may be repeated: it only reads, or doing it twice is as good as once."""


class ServiceDown(StateUnavailable):
    """The service does not answer, or fails: the next call would fare no better."""


@asynccontextmanager
async def one_call(service: str, operation: str, *, seconds: float | None = None, **facts: str) -> AsyncIterator[None]:
    """Bounds one call to a service and turns each failure into `StateUnavailable`; `facts` go to the log with it.

    It is told as a span and as numbers. A row that somebody else has changed, or one that is missing, is no failure.

    It is a `ServiceDown` where the service is away, throttles or fails, whatever it was called for. The SDK makes any
    exception at all of an odd reply: nothing but its call belongs in here, or a fault of ours would look like one.
    `seconds` takes the place of `CALL_SECONDS`.
    """
    told: dict[str, Value] = {"service": service, "operation": operation}
    began, result = time.perf_counter(), "failed"
    with span(f"{service} {operation}", told | _database(service), kind="client") as call:
        try:
            async with asyncio.timeout(seconds or CALL_SECONDS):
                yield
            result = "ok"
        except Conflict:
            result = "conflict"
            call.excuse()
            raise
        except StateUnavailable:
            raise
        except Exception as fault:
            status = getattr(fault, "status_code", None)
            event = {"event": "state_unavailable", "fault": type(fault).__name__, "status": status}
            _log.warning("a call to Azure failed", extra=event | told | facts)
            raise (ServiceDown if _is_down(fault, status) else StateUnavailable) from fault
        finally:
            call.note({"result": result})
            count(metrics.STORAGE_CALLS, told | {"result": result})
            measure(metrics.STORAGE_DURATION, time.perf_counter() - began, told)


def _database(service: str) -> dict[str, Value]:
    return {"db.system.name": "azure.tables"} if service == "tables" else {}


def _is_down(fault: Exception, status: int | None) -> bool:
    if status is None:
        return isinstance(fault, (AzureError, OSError))
    return status >= _SERVER_ERRORS or status == _TOO_MANY_REQUESTS
