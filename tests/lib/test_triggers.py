"""Rules for the boundary of timers and messages."""

import asyncio
import logging
import re
import traceback
from contextlib import suppress

import pytest

from lib import triggers
from lib.errors import StateUnavailable
from lib.telemetry.exporting import Exporting
from lib.telemetry.logs import JsonFormatter
from lib.telemetry.traces import trace_id
from lib.triggers import TriggerFailed
from tests.lib.telemetry.heard import hearing

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


class Watched(Exporting):
    """Says when it is asked for something."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    async def now(self) -> None:
        self.seen.append("now")

    async def flush(self) -> None:
        self.seen.append("flush")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_run_waits_until_it_is_heard_and_until_what_it_told_has_left(fails: bool) -> None:
    """Its instance may be gone soon afterwards, also where the run has failed."""
    seen: list[str] = []

    async def work() -> None:
        seen.append(trace_id.get())
        if fails:
            raise StateUnavailable

    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    with hearing() as heard, suppress(TriggerFailed):
        await triggers.run("run_question", work, Watched(seen), traceparent)
    assert seen == ["now", "0af7651916cd43dd8448eb211c80319c", "flush"]
    (run,) = heard.spans
    failed = "state_unavailable" if fails else ""
    assert (run.name, run.parent, run.failed) == ("run run_question", "b7ad6b7169203331", failed)


async def test_a_trace_that_breaks_the_standard_is_not_gone_on_with() -> None:
    """The run has one of its own then."""
    seen = []

    async def work() -> None:
        seen.append(trace_id.get())

    await triggers.run("run_question", work, traceparent="00-nonsense")
    assert re.fullmatch("[0-9a-f]{32}", seen[0])
