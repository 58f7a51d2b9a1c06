"""What all tests share: no network unless a test says that it runs on the local stack."""

import logging
from collections.abc import Iterator

import pytest
import pytest_socket

from lib import telemetry


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Closes sockets for every test without the marker `stack`. Event loops keep their own pair of Unix sockets."""
    if item.get_closest_marker("stack"):
        pytest_socket.enable_socket()
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    """Opens sockets again, for fixtures that outlive the test."""
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Takes back what a gateway does to the process's logging: levels, and the form of the handlers there are."""
    root = logging.getLogger()
    before = {handler: handler.formatter for handler in root.handlers}
    yield
    for handler, formatter in before.items():
        handler.setFormatter(formatter)
    for name in ("lib", *telemetry.CHATTY):
        logging.getLogger(name).setLevel(logging.NOTSET)
