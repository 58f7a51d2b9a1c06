"""Failures that are kept to be told again: an error as a JSON object, and the error that renders the same problem.

What is kept is what clients see, never the name of a class: rows outlive releases. Of the reply's own headers none is
kept, since they told how much was left then; nor is the cause, which was logged when it was met.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lib.errors import GatewayError


def to_json(error: GatewayError) -> dict[str, Any]:
    """What `from_json` makes the same failure of. Members that are not JSON are left out."""
    return {
        "code": error.code,
        "status": error.status,
        "registered_type": error.registered_type,
        "detail": error.detail,
        "retry_after": error.retry_after,
        "members": {name: value for name, value in error.members.items() if _is_json(value)},
        "own": {name: getattr(error, name) for name in error.own},
    }


def from_json(kept: Mapping[str, Any]) -> GatewayError:
    """The failure that was kept; a `GatewayError` with its detail where this release knows none of that kind."""
    kind = _KINDS.get((kept["code"], kept["status"], kept["registered_type"]), GatewayError)
    error = kind.__new__(kind)  # constructors differ, and have made these values already
    GatewayError.__init__(error, kept["detail"], retry_after=kept["retry_after"], members=kept["members"])
    for name in kind.own:
        setattr(error, name, kept["own"][name])
    return error


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _tree(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    """`root` and all classes below it, each behind those below itself."""
    for child in root.__subclasses__():
        yield from _tree(child)
    yield root


_KINDS = {(kind.code, kind.status, kind.registered_type): kind for kind in _tree(GatewayError)}
"""A class that differs from the one above it in nothing that clients see is told as that one."""
