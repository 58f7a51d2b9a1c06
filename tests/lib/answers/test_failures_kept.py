"""Rules for failures that are kept: each is told again as it was told first."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from lib.answers.failures_kept import from_json, to_json
from lib.errors import (
    AgentFailed,
    CapacityExceeded,
    ConsentRequired,
    GatewayError,
    InsufficientScope,
    InvalidRequest,
    MethodNotAllowed,
    StepUpRequired,
    TooManyRequests,
)
from lib.web.problems import problem
from lib.web.response import Response

LIB = Path(__file__).parent.parent.parent.parent / "lib"
CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
MEMBERS = {"agents": ["sales"], "errors": [{"field": "x", "reason": "y"}], "n": 1.5, "none": None}


def descendants(root: type[GatewayError]) -> list[type[GatewayError]]:
    """All classes below `root`."""
    return [found for child in root.__subclasses__() for found in (child, *descendants(child))]


def classes() -> list[type[GatewayError]]:
    """Every class of the tree, those of single rooms too."""
    for path in LIB.rglob("*.py"):
        if path.stem != "__init__":
            importlib.import_module(".".join(path.relative_to(LIB.parent).with_suffix("").parts))
    return [GatewayError, *(found for found in descendants(GatewayError) if found.__module__.startswith("lib."))]


def made(kind: type[GatewayError]) -> list[GatewayError]:
    """Errors of this class as they are raised."""
    if issubclass(kind, StepUpRequired):
        return [kind(CLAIMS), kind(CLAIMS, login_url="https://ask.contoso.com/api/login?step_up=x")]
    if issubclass(kind, InsufficientScope):
        return [kind("access_as_user")]
    if issubclass(kind, ConsentRequired):
        return [kind(), kind(admin_consent_url="https://login.microsoftonline.com/t/adminconsent?client_id=c")]
    if issubclass(kind, MethodNotAllowed):
        return [kind(("GET", "HEAD", "OPTIONS"))]
    if issubclass(kind, TooManyRequests):
        return [kind("minute", "day", retry_after=7)]
    return [kind(), kind("Another detail.", retry_after=3, members=MEMBERS)]


def told(error: GatewayError) -> Response:
    """The reply that a client gets."""
    return problem(error, "0af7651916cd43dd8448eb211c80319c", "https://login.example/authorize")


def kept(error: GatewayError) -> dict[str, Any]:
    """What a row holds of it."""
    value: dict[str, Any] = json.loads(json.dumps(to_json(error)))
    return value


def again(error: GatewayError) -> GatewayError:
    """The error after it was kept and read again."""
    return from_json(kept(error))


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_a_failure_is_told_again_as_it_was(kind: type[GatewayError]) -> None:
    """The same reply, headers and all: status, code, title, detail, type, members, when to come back, challenge."""
    for error in made(kind):
        restored = again(error)
        assert told(restored) == told(error)
        assert (str(restored), restored.retry_after) == (str(error), error.retry_after)
        assert isinstance(error, type(restored))
        assert kept(restored) == kept(error)


def test_nothing_else_is_kept() -> None:
    """Not what was left of the limits then, and no member that JSON cannot hold."""
    error = AgentFailed(members={"good": [1], "a set": {1}, "no number": float("nan")})
    error.headers = (("RateLimit", '"minute";r=0;t=3'),)
    assert again(error).headers == ()
    assert again(error).members == {"good": [1]}


def test_a_failure_of_a_later_release_is_a_failure_all_the_same() -> None:
    """Its detail is told; what it is called is not known here."""
    restored = from_json(kept(CapacityExceeded(retry_after=9)) | {"code": "of_the_future", "own": {"x": 1}, "more": 2})
    assert type(restored) is GatewayError
    assert (restored.detail, restored.retry_after) == (CapacityExceeded.default_detail, 9)


def test_the_form_is_the_documented_one() -> None:
    """Rows outlive releases: what one release keeps, the next one must read."""
    assert to_json(InvalidRequest("No.", members={"errors": []})) == {
        "code": "invalid_request",
        "status": 400,
        "registered_type": "",
        "detail": "No.",
        "retry_after": None,
        "members": {"errors": []},
        "own": {},
    }
    assert to_json(StepUpRequired("{}", login_url="/x"))["own"] == {"claims": "{}", "login_url": "/x"}
