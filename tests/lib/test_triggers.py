"""Rules for the boundary of timers and messages."""

import asyncio
import logging
import re
import traceback

import pytest

from lib import triggers
from lib.errors import StateUnavailable
from lib.telemetry.logs import JsonFormatter
from lib.telemetry.traces import trace_id
from lib.triggers import TriggerFailed

SECRET = "total sales of the canary"


async def test_a_run_has_a_trace_of_its_own() -> None:
    """Each a new one, which ends with it."""
    seen = []

    async def work() -> None:
        seen.append(trace_id.get())

    for _ in range(2):
        await triggers.run("sweep", work)
    assert all(re.fullmatch("[0-9a-f]{32}", trace) for trace in seen)
    assert len(set(seen)) == 2
    assert trace_id.get() == ""


@pytest.mark.parametrize("fault", [StateUnavailable(), ValueError(SECRET)], ids=["ours", "somebody else's"])
async def test_what_goes_wrong_is_logged_by_type_and_the_host_learns_no_more_than_that(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It delivers again, and writes the text of an exception into its own log: there is none in it."""

    async def work() -> None:
        raise fault

    with caplog.at_level(logging.ERROR), pytest.raises(TriggerFailed) as failed:
        await triggers.run("run_question", work)
    (record,) = caplog.records
    assert vars(record)["function"] == "run_question"
    assert type(fault).__name__ in vars(record)["cause"][0]
    assert SECRET not in JsonFormatter().format(record)
    assert str(failed.value) == "run_question"
    assert SECRET not in "".join(traceback.format_exception(failed.value))
    assert trace_id.get() == ""


async def test_a_run_that_is_given_up_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The host shuts down: a cancellation passes."""
    run = asyncio.ensure_future(triggers.run("run_question", asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert caplog.records == []
