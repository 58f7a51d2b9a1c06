"""Rules for hosts that mean this machine."""

import pytest

from lib.hosts import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_this_machine_is_known_by_name_and_number(host: str) -> None:
    """RFC 6761 and the loopback range."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "0.0.0.0", "::", "xlocalhost"]
)
def test_another_host_is_not_this_machine(host: str) -> None:
    """Look-alikes are not taken in."""
    assert not is_loopback(host)
