"""Rules for the address that a request comes from."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("[2001:DB8::1]:65535", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("", ""),
        (":443", ""),
        ("192.0.2.7:", ""),
        ("192.0.2.7:x", ""),
        ("192.0.2.07", ""),
        ("[192.0.2.7", ""),
        ("[2001:db8::1]x", ""),
        ("2001:db8::1]:1", ""),
        ("2001:db8:::1", ""),
        ("0x7f000001", ""),
        ("2130706433", ""),
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


def test_front_doors_word_counts_for_what_it_is_worth() -> None:
    """Where it tells none, or garbage, there is none: the front end's is Front Door's own, which all share."""
    assert of(client_ip="192.0.2.7", x_azure_fdid=FRONT_DOOR) == ""
    assert of(client_ip="192.0.2.7", x_azure_fdid=FRONT_DOOR, x_azure_clientip="x") == ""
    assert of(client_ip="192.0.2.7", x_azure_fdid=FRONT_DOOR, x_azure_clientip="2001:db8::7") == "2001:db8::/64"


@given(st.text() | st.from_regex(r"[\[\]0-9a-f:.%]{0,50}", fullmatch=True))
def test_whatever_is_told_one_customer_is_one_key(told: str) -> None:
    """An address of IPv4, 64 bits of IPv6, or nothing: never a text of the client's choice."""
    address = of(client_ip=told)
    if address:
        network = ipaddress.ip_network(address)
        assert (network.version, network.prefixlen) in {(4, 32), (6, 64)}
        assert str(network).removesuffix("/32") == address


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1), st.integers(0, 65535))
def test_all_of_an_ipv6_network_is_one_caller(address: ipaddress.IPv6Address, host: int, port: int) -> None:
    """Whoever has one address there has all of them."""
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    if not (address.ipv4_mapped or neighbour.ipv4_mapped):
        assert of(client_ip=f"[{address}]:{port}") == of(client_ip=str(neighbour)) != ""
