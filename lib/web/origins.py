"""Which web pages may use the gateway from a browser: CORS (Fetch standard) and the guard against forged requests."""

from collections.abc import Iterable

from lib.errors import CsrfRejected, OriginRejected, UnsupportedMediaType
from lib.web.bodies import JSON
from lib.web.request import Request

ALLOWED_HEADERS = "Authorization, Content-Type, X-CSRF, Prefer, Idempotency-Key"
EXPOSED_HEADERS = (
    "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy, Location, Preference-Applied, X-Request-Id"
)
PREFLIGHT_SECONDS = 600


def cors_headers(request: Request, origins: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """What lets a page of one of the `origins` read the reply. A page of any other origin gets nothing."""
    origin = request.header("origin")
    if origin not in origins:
        return ()
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", EXPOSED_HEADERS),
    )


def preflight_headers(request: Request, origins: frozenset[str], methods: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The answer to a preflight: what a page of one of the `origins` may send here."""
    if not cors_headers(request, origins):
        return ()
    return (
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Allow-Headers", ALLOWED_HEADERS),
        ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
    )


def refuse_forgery(request: Request, origins: frozenset[str]) -> None:
    """Guards a request that is signed in by cookie and changes something.

    What it brings, if anything, is JSON, which no form can send; it has a header that no form and no foreign page can
    send; and it comes from a page we know: by `Origin`, or, where the browser sends none, by `Sec-Fetch-Site` (Fetch
    Metadata). Raises `UnsupportedMediaType`, `CsrfRejected` or `OriginRejected`.
    """
    if (request.body or request.header("content-type")) and request.media_type != JSON:
        raise UnsupportedMediaType
    if request.header("x-csrf") != "1":
        raise CsrfRejected
    origin, site = request.header("origin"), request.header("sec-fetch-site")
    if origin and origin not in origins:
        raise OriginRejected
    if site and site not in {"same-origin", "same-site"}:
        raise OriginRejected
    if not origin and site != "same-origin":
        raise OriginRejected
