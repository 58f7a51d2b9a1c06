"""What all tests share: no network unless a test says that it runs on the local stack."""

import pytest
import pytest_socket


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Closes sockets for every test without the marker `stack`. Event loops keep their own pair of Unix sockets."""
    if item.get_closest_marker("stack"):
        pytest_socket.enable_socket()
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    """Opens sockets again, for fixtures that outlive the test."""
    pytest_socket.enable_socket()
