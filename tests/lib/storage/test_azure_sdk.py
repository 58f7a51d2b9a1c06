"""Rules for one call by the Azure SDK: it is bounded, and fails in one way alone."""

import asyncio
import logging
from contextlib import suppress

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

from lib.errors import StateUnavailable
from lib.storage.azure_sdk import ServiceDown, one_call
from lib.storage.rows import Conflict
from lib.telemetry import metrics
from tests.lib.telemetry.heard import hearing


@pytest.mark.parametrize(
    "fault",
    [
        ServiceRequestError("secret"),
        ServiceResponseError("secret"),
        ClientAuthenticationError("secret"),
        ConnectionResetError("secret"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_service_that_cannot_be_reached_is_down(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Nor can it where there is no token to be had. The log tells what failed, and no text of the SDK's."""
    with pytest.raises(ServiceDown):
        async with one_call("tables", "read", table="t"):
            raise fault
    [record] = caplog.records
    assert record.__dict__ | {"fault": type(fault).__name__, "status": None, "table": "t"} == record.__dict__
    assert "secret" not in caplog.text


async def test_a_call_that_takes_too_long_finds_the_service_down() -> None:
    """However patient the SDK is."""
    with pytest.raises(ServiceDown):
        async with one_call("tables", "read", seconds=0.01):
            await asyncio.Event().wait()


@pytest.mark.parametrize("fault", [KeyError(), TypeError(), ValueError()], ids=lambda fault: type(fault).__name__)
async def test_what_the_sdk_makes_of_an_odd_reply_is_no_outage(fault: Exception) -> None:
    """The caller meets the one error all the same."""
    with pytest.raises(StateUnavailable) as raised:
        async with one_call("tables", "read"):
            raise fault
    assert type(raised.value) is StateUnavailable
    assert raised.value.__cause__ is fault


@pytest.mark.parametrize(
    "fault", [StateUnavailable("ours"), Conflict(), asyncio.CancelledError()], ids=lambda fault: type(fault).__name__
)
async def test_what_has_a_name_of_its_own_keeps_it(fault: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """And is logged by whoever deals with it."""
    with caplog.at_level(logging.DEBUG), pytest.raises(type(fault)) as raised:
        async with one_call("tables", "read"):
            raise fault
    assert raised.value is fault
    assert caplog.records == []


@pytest.mark.parametrize(
    ("service", "fault", "result", "failed"),
    [
        ("tables", None, "ok", ""),
        ("tables", Conflict(), "conflict", ""),
        ("queue", StateUnavailable(), "failed", "state_unavailable"),
        ("key_vault", ServiceRequestError("secret"), "failed", "state_unavailable"),
    ],
)
async def test_a_call_is_a_span_and_numbers(service: str, fault: Exception | None, result: str, failed: str) -> None:
    """A row that somebody else has changed is everyday life, and no failure."""
    with hearing() as heard:
        with suppress(StateUnavailable, Conflict):
            async with one_call(service, "update", table="t"):
                if fault:
                    raise fault
        (told,) = heard.spans
        database = {"db.system.name": "azure.tables"} if service == "tables" else {}
        assert (told.name, told.kind, told.failed) == (f"{service} update", "client", failed)
        assert told.facts == {"service": service, "operation": "update", "result": result, **database}
        assert heard.of(metrics.STORAGE_CALLS) == [{"service": service, "operation": "update", "result": result}]
        assert heard.of(metrics.STORAGE_DURATION) == [{"service": service, "operation": "update"}]
