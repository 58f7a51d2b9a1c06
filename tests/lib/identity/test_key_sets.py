"""Rules for taking keys from what Entra publishes."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.identity import documents
from lib.identity.documents import DocumentUnusable
from lib.identity.key_sets import SigningKey, fetch_keys, read_keys
from tests.lib.identity.authority import HOST, TENANT, Authority, issuer, jwk, raw, rsa_key

ISSUER = issuer(TENANT)


LONGEST = 256 * 1024


class Trickle(httpx.AsyncByteStream):
    """A body that begins and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()


@pytest.fixture
def authority() -> Authority:
    """An Entra that answers as it should."""
    return Authority()


async def fetched(authority: Authority) -> dict[str, SigningKey]:
    """The keys of our tenant."""
    async with authority.client() as http:
        return await fetch_keys(http, HOST, TENANT)


async def test_the_keys_come_by_way_of_the_discovery_document(authority: Authority) -> None:
    """Two requests, and the key with the issuer it signs for."""
    keys = await fetched(authority)
    assert keys["current"].public_key == rsa_key("current").public_key()
    assert keys["current"].issuer == ISSUER
    assert authority.calls == {"discovery": 1, "keys": 1}


async def test_no_compressed_document_is_asked_for(authority: Authority) -> None:
    """What is never unpacked cannot unpack to gigabytes."""
    encodings = []

    def note(request: httpx.Request) -> httpx.Response:
        encodings.append(request.headers["Accept-Encoding"])
        return raw(b"\x1f\x8b", Content_Encoding="gzip")

    authority.fault = note
    with pytest.raises(DocumentUnusable):
        await fetched(authority)
    assert encodings == ["identity"]


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"issuer": issuer(TENANT.replace("3", "4"))}, id="another tenant's document"),
        pytest.param({"issuer": f"https://evil.example/{TENANT}/v2.0"}, id="another issuer's document"),
        pytest.param({"issuer": None}, id="no issuer"),
        pytest.param({"jwks_uri": "https://evil.example/keys"}, id="keys on another host"),
        pytest.param({"jwks_uri": "https://login.microsoftonline.com.evil.example/keys"}, id="keys on a lookalike"),
        pytest.param({"jwks_uri": "https://x@evil.example/keys"}, id="keys behind a user name"),
        pytest.param({"jwks_uri": "https://login.microsoftonline.com:444/keys"}, id="keys on another port"),
        pytest.param({"jwks_uri": "http://login.microsoftonline.com/keys"}, id="keys over plain http"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, id="keys in a file"),
        pytest.param({"jwks_uri": "https://[/keys"}, id="keys at no address"),
        pytest.param({"jwks_uri": f" {HOST}/keys"}, id="keys behind a space"),
        pytest.param({"jwks_uri": f"{HOST}\\@evil.example/keys"}, id="keys behind a backslash"),
        pytest.param({"jwks_uri": 5}, id="keys at a number"),
    ],
)
async def test_a_document_that_leads_elsewhere_is_refused(authority: Authority, metadata: dict[str, object]) -> None:
    """Keys come from the authority itself, and the document is about the tenant that was asked for."""
    authority.metadata = metadata
    with pytest.raises(DocumentUnusable):
        await fetched(authority)
    assert authority.calls == {"discovery": 1}


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(raw(b"", 500), id="a failure"),
        pytest.param(raw(b"", 302, Location=f"{HOST}/other"), id="a redirect"),
        pytest.param(raw(b"<html>"), id="a page"),
        pytest.param(raw(b"[]"), id="a list"),
    ],
)
async def test_a_reply_that_is_no_document_is_refused(authority: Authority, response: httpx.Response) -> None:
    """Redirects are not followed and nothing long is read."""
    authority.fault = lambda _: response
    with pytest.raises(DocumentUnusable):
        await fetched(authority)
    assert authority.calls == {"discovery": 1}


@pytest.mark.parametrize(("size", "is_read"), [(LONGEST, True), (LONGEST + 1, False)])
async def test_a_document_has_256_kib_at_most(authority: Authority, size: int, is_read: bool) -> None:
    """Longer than any key set, and short enough for anybody's memory."""
    document = json.dumps({"issuer": ISSUER, "jwks_uri": "https://evil.example"}).encode().ljust(size)
    authority.fault = lambda _: raw(document)
    with pytest.raises(DocumentUnusable, match="another host" if is_read else "too long"):
        await fetched(authority)


async def test_a_document_that_trickles_in_is_given_up(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is on the whole document, not on each of its bytes."""
    monkeypatch.setattr(documents, "FETCH_SECONDS", 0.01)
    authority.fault = lambda _: httpx.Response(200, stream=Trickle())
    with pytest.raises(TimeoutError):
        await fetched(authority)


async def test_each_step_of_a_fetch_has_three_seconds(authority: Authority) -> None:
    """Whoever waits for the keys is a person who waits for an answer."""
    limits = []

    def note(request: httpx.Request) -> httpx.Response:
        limits.append(request.extensions["timeout"])
        return raw(b"", 500)

    authority.fault = note
    with pytest.raises(DocumentUnusable):
        await fetched(authority)
    assert limits == [dict.fromkeys(("connect", "read", "write", "pool"), 3)]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(jwk("bad", rsa_key("short", 1024)), id="1024 bits"),
        pytest.param(jwk("bad", rsa_key("other"), use="enc"), id="for encryption"),
        pytest.param(jwk("bad", rsa_key("other"), use=None), id="for no use"),
        pytest.param(jwk("bad", rsa_key("other"), kty="oct", k="c2VjcmV0"), id="a shared secret"),
        pytest.param(jwk("bad", rsa_key("other"), alg="HS256"), id="for another algorithm"),
        pytest.param(jwk("bad", rsa_key("other"), n="AQ==" * 200), id="padded base64"),
        pytest.param(jwk("bad", rsa_key("other"), n=5), id="a number for n"),
        pytest.param(jwk("bad", rsa_key("other"), e=None), id="no e"),
        pytest.param(jwk("bad", rsa_key("other"), e="Ag"), id="an even e"),
        pytest.param(jwk("bad", rsa_key("other"), issuer=5), id="a number for issuer"),
        pytest.param(jwk("", rsa_key("other")), id="an empty key id"),
        pytest.param({"kty": "RSA", "use": "sig"}, id="no key id"),
        pytest.param("a key", id="no object"),
        pytest.param(None, id="null"),
    ],
)
def test_a_bad_key_is_dropped_alone(bad: object) -> None:
    """The others of its set stay."""
    assert list(read_keys({"keys": [bad, jwk("good", rsa_key("current"))]}, ISSUER)) == ["good"]


@pytest.mark.parametrize("key_set", [{}, {"keys": []}, {"keys": {}}, {"keys": [jwk("x", rsa_key("short", 1024))]}])
def test_a_set_without_a_usable_key_is_refused(key_set: dict[str, object]) -> None:
    """An empty set would lock everybody out."""
    with pytest.raises(DocumentUnusable):
        read_keys(key_set, ISSUER)


def test_a_key_without_an_issuer_is_its_sets_own() -> None:
    """The set belongs to one tenant."""
    keys = read_keys({"keys": [jwk("a", rsa_key("current")), jwk("b", rsa_key("other"), issuer="x")]}, ISSUER)
    assert (keys["a"].issuer, keys["b"].issuer) == (ISSUER, "x")


@given(st.binary())
async def test_whatever_is_served_either_is_a_key_set_or_is_refused(body: bytes) -> None:
    """Any bytes at all end in the one error."""
    authority = Authority()
    authority.fault = lambda _: raw(body)
    with pytest.raises(DocumentUnusable):
        await fetched(authority)
