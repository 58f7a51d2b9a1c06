"""The boundary of what no request has begun: timers and messages, as `lib.web.serve` is that of requests.

What goes wrong is logged here, by type and place. The host is told that something did, so that it delivers a message
again, and nothing else: it would write the text of an exception into its own log.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable

from lib.telemetry.exporting import Exporting
from lib.telemetry.logs import describe
from lib.telemetry.signals import span
from lib.telemetry.traces import read_traceparent, trace_id

_log = logging.getLogger(__name__)


class TriggerFailed(Exception):
    """A run that did not come to its end; the log says why."""


async def run(
    name: str, work: Callable[[], Awaitable[None]], exporting: Exporting | None = None, traceparent: str = ""
) -> None:
    """Does `work` in the trace that `traceparent` names, or in one of its own. Raises `TriggerFailed` alone.

    Nobody waits for a run, so it waits until what it tells can leave, and until that has left.
    """
    exporting = exporting or Exporting()
    await exporting.now()
    trace, parent = read_traceparent(traceparent)
    scope = trace_id.set(trace or secrets.token_hex(16))
    try:
        with span(f"run {name}", parent=parent):
            await work()
    except Exception as fault:
        facts = {"event": "run_failed", "function": name, "cause": describe(fault)}
        _log.exception("a run failed", extra=facts)
        raise TriggerFailed(name) from None
    finally:
        trace_id.reset(scope)
        await exporting.flush()
