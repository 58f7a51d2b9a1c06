"""The gateway's side of the protocol, spoken by hand, and the browser between it and the tenant."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from local.people import GATEWAY_CLIENT_ID

CALLBACK = "https://gateway.test/api/login/callback?from=entra"
VERIFIER = "a-code-verifier-of-the-least-length-rfc-7636-has"
CHALLENGE = "-nulXdFRhd4bEHGb7fK8ssOKRPkSeTr2XkukeEeL5pA"
SECRET = "a secret of the gateway's"
FABRIC_SCOPE = "https://api.fabric.microsoft.com/.default"
SCOPE = f"openid profile offline_access {FABRIC_SCOPE}"


def request_for(**changes: str | None) -> dict[str, str]:
    """A good authorization request, but for `changes`; None leaves a parameter out."""
    usual = {
        "client_id": GATEWAY_CLIENT_ID,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "response_mode": "form_post",
        "scope": SCOPE,
        "state": "the state <&>",
        "nonce": "the nonce",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return _with(usual, changes)


def hidden_inputs(page: str) -> dict[str, str]:
    """What a page's form carries along."""
    return {name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="(.*?)"', page)}


@dataclass(frozen=True)
class Gateway:
    """A client of the tenant that has a secret."""

    client: httpx.AsyncClient

    async def sign_in(self, person: str = "alice", **changes: str | None) -> dict[str, str]:
        """Picks a person on the sign-in page; returns what the browser then posts to the callback."""
        query = request_for(**changes)
        page = await self.client.post("/oauth2/v2.0/authorize", params=query, data={"person": person})
        return hidden_inputs(page.raise_for_status().text)

    async def redeem(self, grant_type: str, **parameters: str | None) -> dict[str, Any]:
        """The reply of the token endpoint; a parameter of None is left out."""
        usual = {"grant_type": grant_type, "client_id": GATEWAY_CLIENT_ID, "client_secret": SECRET}
        reply = await self.client.post("/oauth2/v2.0/token", data=_with(usual, parameters))
        body: dict[str, Any] = reply.json()
        assert ("access_token" in body) == (reply.status_code == httpx.codes.OK)
        return body

    async def redeem_code(self, code: str, **changes: str | None) -> dict[str, Any]:
        """Redeems an authorization code as the gateway got it, but for `changes`."""
        bound: dict[str, str | None] = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return await self.redeem("authorization_code", **(bound | {"scope": SCOPE} | changes))


def _with(usual: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}
