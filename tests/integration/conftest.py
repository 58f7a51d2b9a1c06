"""The whole stack, once for all tests of this folder: the gateway on Microsoft's runtime, Azurite and the emulators."""

import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local.serving import Server
from local.stack import Stack
from tests.integration.browser import Browser
from tests.lib.storage.front import Front

SETTINGS = {
    "LOG_LEVEL": "DEBUG",
    "ALLOWED_ORIGINS": "https://app.contoso.example",
    "LIMIT_PER_MINUTE": "6000",  # what is not about limits is not to meet them
    "LIMIT_BURST": "1000",
    "LIMIT_PER_DAY": "1000000",
    "LIMIT_IN_FLIGHT": "100",
    "FAILURES_PER_MINUTE": "60000",
    "ANSWER_CACHE_SECONDS": "0",
}
APART = {
    "test_killed_hosts.py",
    "test_limits.py",
    "test_mix_ups.py",
    "test_parallel_users.py",
    "test_storage_outage.py",
}
"""What is about many at once and about time, and takes long: a second run takes these, beside the first.

That run is not measured, under which a gateway is half as fast: every line is to be reached by one of the others.
"""
LAST = "test_logs.py"


@pytest.fixture(scope="session")
def host_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the gateway's own process writes, at its most talkative."""
    return tmp_path_factory.mktemp("host") / "log"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, host_log: Path) -> Iterator[Stack]:
    """The stack with a gateway that logs everything it can, and agents that answer at once."""
    with Stack(tmp_path_factory.mktemp("stack"), delay_seconds=0) as running, host_log.open("wb") as log:
        running.start_host(log, SETTINGS)
        yield running


@pytest.fixture(scope="session")
def secrets_seen() -> set[str]:
    """Every token, cookie, code, question and answer that the tests of this run have sent or received."""
    return set()


@pytest.fixture
def browser(stack: Stack, secrets_seen: set[str]) -> Iterator[Browser]:
    """A new browser, in which nobody is signed in."""
    with Browser(stack, secrets_seen) as opened:
        yield opened


@pytest.fixture
def storage(stack: Stack) -> Iterator[tuple[Front, str]]:
    """A server before Azurite that counts and can fail, and the connection string that leads through it."""
    parts = urlsplit(stack.azurite.table_url)
    front = Front(f"{parts.scheme}://{parts.netloc}")
    account = stack.azurite.connection_string.partition("TableEndpoint=")[0]
    with Server(front, host="127.0.0.1") as server:
        queues = f"QueueEndpoint={stack.azurite.queue_url}"
        yield front, f"{account}TableEndpoint={server.url}/devstoreaccount1;{queues}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here runs on the stack; what reads the log of all others runs last, also of those that run apart."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.apart if item.path.name in APART else pytest.mark.together)
        if item.path.name == LAST:
            item.add_marker(pytest.mark.apart)
    items.sort(key=lambda item: item.path.name == LAST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage has nothing to follow in this process, which would be slow: the gateway runs in others."""
    if "integration" not in item.path.parts:
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(in_threads)
