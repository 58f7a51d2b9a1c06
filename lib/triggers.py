"""The boundary of what no request has begun: timers and messages, as `lib.web.serve` is that of requests.

What goes wrong is logged here, by type and place. The host is told that something did, so that it delivers a message
again, and nothing else: it would write the text of an exception into its own log.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable

from lib.telemetry.logs import describe
from lib.telemetry.traces import trace_id

_log = logging.getLogger(__name__)


class TriggerFailed(Exception):
    """A run that did not come to its end; the log says why."""


async def run(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Does `work` under a trace id of its own. Raises `TriggerFailed` alone."""
    scope = trace_id.set(secrets.token_hex(16))
    try:
        await work()
    except Exception as fault:
        _log.exception("a run failed", extra={"function": name, "cause": describe(fault)})
        raise TriggerFailed(name) from None
    finally:
        trace_id.reset(scope)
