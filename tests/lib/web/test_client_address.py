"""Rules for the address that a request comes from."""

import pytest

from lib.web.client_address import client_address
from lib.web.request import Request

FRONT_DOOR = "11111111-2222-3333-4444-555555555555"


def of(**headers: str) -> str:
    """The address in these headers, for a gateway behind that Front Door."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client_address(Request("GET", headers=sent), FRONT_DOOR)


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:51234", "192.0.2.7"),
        ("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("", ""),
        ("unknown", ""),
        ("999.1.1.1", ""),
        ("192.0.2.7, 192.0.2.8", ""),
        ("x" * 10_000, ""),
    ],
    ids=lambda value: value[:20],
)
def test_the_front_ends_word_counts(told: str, address: str) -> None:
    """With or without a port; a network of IPv6 is one customer."""
    assert of(client_ip=told) == address
    assert of(client_ip=told, x_forwarded_for="203.0.113.1", x_azure_clientip="203.0.113.1") == address


def test_front_doors_word_counts_with_its_id_alone() -> None:
    """Anybody can write the header; only our own profile knows its id."""
    assert of(client_ip="192.0.2.7", x_azure_fdid=FRONT_DOOR, x_azure_clientip="203.0.113.1") == "203.0.113.1"
    other = "99999999-2222-3333-4444-555555555555"
    assert of(client_ip="192.0.2.7", x_azure_fdid=other, x_azure_clientip="203.0.113.1") == "192.0.2.7"
    request = Request("GET", headers={"client-ip": "192.0.2.7", "x-azure-fdid": "ä", "x-azure-clientip": "1.1.1.1"})
    assert client_address(request) == client_address(request, FRONT_DOOR) == "192.0.2.7"
