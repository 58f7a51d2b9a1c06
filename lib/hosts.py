"""Which hosts mean this machine (RFC 6761 section 6.3, RFC 5735, RFC 4291)."""

import re

_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


def is_loopback(host: str) -> bool:
    """Whether `host`, in lower case and without brackets or port, is this machine by name or number."""
    return _LOOPBACK.fullmatch(host) is not None
