"""Where a request comes from, for counting alone: nobody is let in by their address.

`Client-IP` is set by Azure's front end, whatever a client sends (Azure/app-service-linux-docs, headers.md). Behind
Azure Front Door that is Front Door's own address, and the client's stands in `X-Azure-ClientIP`, which counts only
with the id of our own profile (https://learn.microsoft.com/azure/frontdoor/origin-security). `X-Forwarded-For` begins
with what the client claims, and is not read.
"""

import hmac
import ipaddress
import re

from lib.web.request import Request

_WITH_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?")
_IPV6_PREFIX = 64
"""Bits of an IPv6 address that one customer of a provider has: all below them are the same caller to us."""


def client_address(request: Request, front_door_id: str = "") -> str:
    """The client's IPv4 address or IPv6 network; empty where the front end does not tell one."""
    told = request.header("client-ip")
    if front_door_id and hmac.compare_digest(request.header("x-azure-fdid").encode(), front_door_id.encode()):
        told = request.header("x-azure-clientip")
    parts = _WITH_PORT.fullmatch(told)
    try:
        address = ipaddress.ip_address((parts[1] or parts[2]) if parts else told)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False))
    return str(address)
