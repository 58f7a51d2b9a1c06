"""What is imported behind the first reply: all that a question needs, once, and without harm where that fails."""

import asyncio
import logging
import subprocess
import sys

import pytest

from lib import prefetch
from lib.prefetch import Prefetch

LIBRARIES = ("aiohttp", "azure.data.tables.aio", "azure.identity.aio", "azure.keyvault.secrets.aio", "httpx", "jwt",
             "markdown_it", "msal", "pydantic", "tenacity")  # fmt: skip
PROGRAM = """
import asyncio, sys
from lib import prefetch
prefetch.AFTER_SECONDS = prefetch.PAUSE_SECONDS = 0
async def main():
    prefetch.Prefetch().soon(lambda: None)
    while not set(prefetch.names()) <= set(sys.modules):
        await asyncio.sleep(0.01)
asyncio.run(main())
print(*sys.modules)
"""


def test_it_imports_what_a_question_needs_and_nothing_that_sends_telemetry() -> None:
    """In a new process, since this one has it all."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert set(prefetch.names()) <= loaded
    assert {*LIBRARIES, "lib.question_body", "lib.agents.data_agent"} <= loaded
    assert not {"opentelemetry.sdk", "azure.monitor", "lib.telemetry.export"} & loaded


async def test_it_begins_once_not_before_the_reply_is_out_and_passes_over_what_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many replies there are; what cannot be imported is told, and the rest is imported all the same."""
    begun = 0

    def names() -> list[str]:
        nonlocal begun
        begun += 1
        return ["no_such_module", "lib.prefetch"]

    monkeypatch.setattr(prefetch, "names", lambda: iter(names()))
    monkeypatch.setattr(prefetch, "AFTER_SECONDS", 0)
    monkeypatch.setattr(prefetch, "PAUSE_SECONDS", 0)
    fetching, done = Prefetch(), asyncio.Event()
    with caplog.at_level(logging.WARNING):
        fetching.soon(done.set)
        fetching.soon(done.set)
        assert caplog.records == []
        assert not done.is_set()
        await asyncio.wait_for(done.wait(), 10)
    assert [vars(record)["module_name"] for record in caplog.records] == ["no_such_module"]
    assert begun == 1
