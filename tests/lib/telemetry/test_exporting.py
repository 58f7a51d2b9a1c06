"""Rules for when telemetry begins to leave, and for what happens where it cannot."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lib.telemetry import exporting as module
from lib.telemetry import metrics, signals
from lib.telemetry.exporting import Exporting
from lib.telemetry.signals import Recorder, count
from lib.telemetry_settings import TelemetrySettings
from tests.lib.telemetry.heard import Heard

OFF = TelemetrySettings("gateway", 1, 60)
ON = TelemetrySettings("gateway", 1, 60, otlp_endpoint="http://127.0.0.1:9")


class Exports:
    """In the place of what imports OpenTelemetry: begins, and takes as long as it is told."""

    made: list["Exports"]
    gate: threading.Event
    fault: Exception | None

    def __init__(self, settings: TelemetrySettings, credential: Callable[[], Any]) -> None:
        self.gate.wait(10)
        if self.fault:
            raise self.fault
        self.given = (settings, credential())
        self.thread = threading.current_thread().name
        self.did: list[str] = []
        self.made.append(self)
        signals.use(Heard())

    def flush(self) -> None:
        self.gate.wait(10)
        self.did.append("flush")

    def close(self) -> None:
        self.gate.wait(10)
        self.did.append("close")


@pytest.fixture(autouse=True)
def exports(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Exports]]:
    """What is made, which takes no time unless its gate is closed."""
    monkeypatch.setattr("lib.telemetry.export.Exports", Exports)
    monkeypatch.setattr(module, "AFTER_SECONDS", 0.05)
    Exports.made, Exports.gate, Exports.fault = [], threading.Event(), None
    Exports.gate.set()
    yield Exports
    Exports.gate.set()


async def until(is_so: Callable[[], bool]) -> None:
    """Returns once it is so."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # another thread's doing
            await asyncio.sleep(0.01)


async def test_where_nothing_is_configured_nothing_is_begun_and_nobody_listens(exports: type[Exports]) -> None:
    """What has waited is dropped."""
    count(metrics.LOOKUPS)
    exporting = Exporting(OFF)
    exporting.soon()
    await exporting.now()
    await exporting.flush()
    await asyncio.sleep(0.1)
    exporting.close()
    assert exports.made == []
    assert type(signals._recorder) is Recorder


async def test_while_the_settings_are_wrong_numbers_go_on_waiting() -> None:
    """They may be right in the next process; in this one it is not known what they would be."""
    count(metrics.LOOKUPS)
    await Exporting().now()
    heard = Heard()
    signals.use(heard)
    assert len(heard.numbers) == 1


async def test_the_first_reply_is_out_before_anything_is_begun(exports: type[Exports]) -> None:
    """It begins a little later, once, in a thread."""
    exporting = Exporting(ON, lambda: "credential")
    for _ in range(3):
        exporting.soon()
    assert exports.made == []
    await until(lambda: bool(exports.made))
    await asyncio.sleep(0.1)
    (made,) = exports.made
    assert (made.given, made.thread) == ((ON, "credential"), "telemetry")
    exporting.close()


async def test_a_run_begins_when_it_is_heard_and_ends_when_that_has_left(exports: type[Exports]) -> None:
    """Nobody waits for a timer."""
    exporting = Exporting(ON)
    await exporting.now()
    assert len(exports.made) == 1
    await exporting.now()
    exporting.soon()
    await exporting.flush()
    assert exports.made[0].did == ["flush"]
    exporting.close()
    exporting.close()
    assert exports.made[0].did[:2] == ["flush", "close"]


async def test_what_hangs_keeps_nobody_for_long(
    exports: type[Exports], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a run nor the end of the process."""
    exporting = Exporting(ON)
    await exporting.now()
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.1)
    exports.gate.clear()
    began = time.monotonic()
    await exporting.flush()
    exporting.close()
    assert time.monotonic() - began < 5
    assert [record.getMessage() for record in caplog.records] == ["telemetry takes too long"]


async def test_a_request_and_a_run_at_once_begin_once(exports: type[Exports]) -> None:
    """Whoever comes second finds it done."""
    exporting = Exporting(ON)
    exports.gate.clear()
    both = asyncio.gather(exporting.now(), exporting.now())
    await asyncio.sleep(0.05)
    exports.gate.set()
    await both
    assert len(exports.made) == 1
    exporting.close()


@pytest.mark.parametrize("begin", ["now", "soon"])
async def test_what_cannot_be_set_up_is_told_once_and_missed_by_nobody(
    begin: str, exports: type[Exports], caplog: pytest.LogCaptureFixture
) -> None:
    """By its type alone: its text may hold the key of the collector."""
    exports.fault = ValueError("the key of the collector")
    exporting = Exporting(ON)
    with caplog.at_level(logging.WARNING):
        if begin == "now":
            await exporting.now()
        else:
            exporting.soon()
        await until(lambda: bool(caplog.records))
        await exporting.now()
        await exporting.flush()
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["fault"]) == ("telemetry cannot be set up", "ValueError")
    assert type(signals._recorder) is Recorder


async def test_a_loop_that_has_ended_meanwhile_is_left_alone(exports: type[Exports]) -> None:
    """The process may go before the thread is done."""
    exporting = Exporting(ON)
    await exporting.now()
    exports.gate.clear()

    def elsewhere() -> None:
        async def flush() -> None:
            flushing = asyncio.create_task(exporting.flush())
            await asyncio.sleep(0.05)
            flushing.cancel()

        asyncio.run(flush())

    await asyncio.to_thread(elsewhere)
    exports.gate.set()
    await until(lambda: exports.made[0].did == ["flush"])
    exporting.close()
