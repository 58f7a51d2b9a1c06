"""Rules for sign-ins under way, on a real Azurite and with the real Key Vault client."""

import base64
import hashlib
import json
import re
import secrets
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import LoginFailed
from lib.identity.flows import FLOW_SECONDS, TABLE, Flow, Flows, flow_cookie_name
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from tests.clock import Clock


@pytest.fixture
def flows(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Flows:
    """Flows of a gateway."""
    return Flows(Sealer(KeyRing(key_vault_client, now=clock)), tables, RowKeys(key_vault_client), now=clock)


def flow(state: str = "s" * 43, return_to: str = "/api/app") -> Flow:
    """A sign-in under way."""
    return Flow(state, "v" * 43, "n" * 43, return_to, 1_800_000_000)


@pytest.mark.stack
async def test_a_flow_survives_its_cookie_and_fits_it(flows: Flows) -> None:
    """What goes in comes out; 4096 bytes is all that a browser keeps, and the runtime encodes other characters."""
    longest = replace(flow(return_to="/" + "r" * 1023), session="c" * 109, challenge_handle="h" * 22)
    value = await flows.seal(longest)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,3500}", value)
    assert await flows.open(value) == longest


@pytest.mark.stack
@pytest.mark.parametrize("value", ["", "x", "AAAA", "é", "=" * 9, "A" * 5000])
async def test_a_value_that_was_not_sealed_here_is_a_failed_sign_in(flows: Flows, value: str) -> None:
    """Whatever a browser sends."""
    with pytest.raises(LoginFailed):
        await flows.open(value)


@pytest.mark.stack
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"state":"x"}', json.dumps({"more": 1}).encode()])
async def test_a_flow_of_another_release_is_a_failed_sign_in(flows: Flows, content: bytes) -> None:
    """The cookie opened, so it is ours, and older or newer than this code."""
    sealed = base64.urlsafe_b64encode(await flows._sealer.seal(content, "flow")).decode().rstrip("=")
    with pytest.raises(LoginFailed):
        await flows.open(sealed)


@pytest.mark.stack
async def test_a_flow_is_good_once(flows: Flows, tables: Tables, clock: Clock) -> None:
    """The second time is a replay; another flow is not concerned. The row goes when the flow would have."""
    state = secrets.token_urlsafe(32)
    await flows.spend(flow(state))
    with pytest.raises(LoginFailed):
        await flows.spend(flow(state))
    await flows.spend(flow(f"{state}-other"))
    row = await tables.read(TABLE, await flows._keys.row("flow", state), "used")
    assert row is not None
    assert row.values["expires"] == clock.now + FLOW_SECONDS
    assert state not in repr(row.values)


@given(st.text())
def test_each_tab_has_its_own_cookie(state: str) -> None:
    """By eight digits of the state's hash, whatever the form says it is."""
    assert re.fullmatch("__Host-flow-[0-9a-f]{8}", flow_cookie_name(state))
    assert flow_cookie_name("state") == f"__Host-flow-{hashlib.sha256(b'state').hexdigest()[:8]}"


def test_a_flow_shows_no_secret_in_its_text() -> None:
    """A value printed while somebody looks for a fault gives nothing away."""
    assert "sss" not in repr(flow())
    assert "vvv" not in repr(flow())
    assert "nnn" not in repr(flow())
    assert "hhh" not in repr(replace(flow(), session="hhh", challenge_handle="hhh"))
