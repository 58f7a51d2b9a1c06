"""What is imported behind the first reply: all that a question needs, once, and without harm where that fails."""

import asyncio
import logging
import subprocess
import sys
import threading

import pytest

from lib import prefetch
from lib.prefetch import Prefetch

LIBRARIES = ("aiohttp", "azure.data.tables.aio", "azure.identity.aio", "azure.keyvault.secrets.aio", "httpx", "jwt",
             "markdown_it", "msal", "pydantic", "tenacity")  # fmt: skip


def test_it_imports_what_a_question_needs_and_nothing_that_sends_telemetry() -> None:
    """In a new process, since this one has it all."""
    program = "import sys; from lib.prefetch import prefetch; prefetch(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {*LIBRARIES, "lib.question_body", "lib.agents.data_agent"} <= set(loaded)
    assert not {"opentelemetry.sdk", "azure.monitor", "lib.telemetry.export"} & set(loaded)


async def test_it_begins_once_and_not_before_the_reply_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many replies there are."""
    runs, done = [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        runs.append(threading.current_thread().name)
        loop.call_soon_threadsafe(done.set)

    monkeypatch.setattr(prefetch, "prefetch", work)
    monkeypatch.setattr(prefetch, "AFTER_SECONDS", 0)
    fetching = Prefetch()
    fetching.soon()
    fetching.soon()
    assert runs == []
    await asyncio.wait_for(done.wait(), 10)
    assert runs == ["prefetch"]


def test_what_cannot_be_imported_is_told_and_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is imported all the same."""
    monkeypatch.setattr(prefetch, "HEAVY", ("no_such_module",))
    with caplog.at_level(logging.WARNING):
        prefetch.prefetch()
    assert [vars(record)["module_name"] for record in caplog.records] == ["no_such_module"]
