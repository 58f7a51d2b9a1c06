"""When telemetry begins to leave, and when it is sent: never while somebody waits.

The imports and the set-up take up to a second of a thread. The first reply of an instance does not wait for them:
they begin when it is out, and what `lib.prefetch` imports is there. A run of a timer or of the queue has no caller,
and waits for them before it begins and for what it has told when it is done, for a bounded time, since its instance
may be gone soon afterwards.
"""

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.telemetry import signals

if TYPE_CHECKING:
    from lib.telemetry.export import Exports
    from lib.telemetry_settings import TelemetrySettings

AFTER_SECONDS = 0.5
"""The first reply has left by then."""
SET_UP_SECONDS = 20
FLUSH_SECONDS = 6
"""What a run waits for at the most, and an instance that ends."""

_log = logging.getLogger(__name__)


class Exporting:
    """What leaves one process. Nothing goes wrong here that anybody would notice but by what is missing."""

    def __init__(
        self, settings: "TelemetrySettings | None" = None, credential: Callable[[], Any] = lambda: None
    ) -> None:
        """`credential` gives what Azure Monitor knows the gateway by. Without settings nothing is begun or changed."""
        self._settings = settings if settings and settings.is_on else None
        self._credential = credential
        self._setting_up = threading.Lock()
        self._begun = False
        self._exports: Exports | None = None
        if settings and not settings.is_on:
            signals.use(signals.Recorder())

    def soon(self) -> None:
        """Begins, where that has not happened, once what is under way has had its time."""
        if self._settings and not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_later(AFTER_SECONDS, _thread, self._set_up)

    async def now(self) -> None:
        """Begins, and returns when it is done."""
        if self._settings and not self._exports:
            self._begun = True
            await _bounded(self._set_up, SET_UP_SECONDS)

    async def flush(self) -> None:
        """Sends what there is."""
        if self._exports:
            await _bounded(self._exports.flush, FLUSH_SECONDS)

    def _set_up(self) -> None:
        with self._setting_up:
            if self._exports or not self._settings:
                return
            try:
                from lib.telemetry.export import Exports  # noqa: PLC0415  # heavy

                self._exports = Exports(self._settings, self._credential)
            except Exception as fault:  # noqa: BLE001  # whatever it is, the gateway works without
                self._settings = None
                signals.use(signals.Recorder())
                _log.warning("telemetry cannot be set up", extra={"fault": type(fault).__name__})
            else:
                atexit.register(self.close)

    def close(self) -> None:
        """Sends what there is, and ends, within bounds."""
        atexit.unregister(self.close)
        if self._exports:
            _thread(self._exports.close).join(FLUSH_SECONDS)


def _thread(work: Callable[[], object]) -> threading.Thread:
    """A thread that an end of the process does not wait for."""
    thread = threading.Thread(target=work, name="telemetry", daemon=True)
    thread.start()
    return thread


async def _bounded(work: Callable[[], object], seconds: float) -> None:
    """Waits for `work`, which goes on in its thread where that takes longer."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        work()
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    _thread(told)
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        _log.warning("telemetry takes too long")
