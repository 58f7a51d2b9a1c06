"""Addresses: every form people configure leads to the one endpoint, and no token can be led elsewhere."""

import contextlib
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.agents.addresses import API_HOSTS, AgentAddress, UnknownAddress, parse_address

WORKSPACE = "5bc0a5f1-6f0e-4b52-9d9c-1f8a3a1d7e20"
AGENT = "c2c9a1de-7f04-4a3f-8b7d-2d6c0c5b9a11"
PATH = f"/v1/mcp/workspaces/{WORKSPACE}/dataagents/{AGENT}/agent"
ENDPOINT = f"https://api.fabric.microsoft.com{PATH}"
OLD = f"https://api.fabric.microsoft.com/v1/workspaces/{WORKSPACE}"
PRIVATE_LINK = f"{WORKSPACE.replace('-', '')}.z5b.w.api.fabric.microsoft.com"
CAPACITY = "https://7d1e9f3a.pbidedicated.windows.net/webapi/capacities/7d1e9f3a/workloads/ML/AISkill/Automatic"


@pytest.mark.parametrize("host", [*sorted(API_HOSTS), PRIVATE_LINK])
def test_the_endpoint_is_kept_on_every_host_of_fabric(host: str) -> None:
    """An MCP endpoint on the public, a ring's, the government's or a private-link host is taken as it is."""
    url = f"https://{host}{PATH}"
    assert parse_address(url, loopback_allowed=False) == AgentAddress(url, WORKSPACE, AGENT, translated=False)


@pytest.mark.parametrize(
    "url",
    [ENDPOINT.upper(), ENDPOINT + "/", ENDPOINT + "?api-version=1", ENDPOINT + "#tab", "HTTPS" + ENDPOINT[5:]],
    ids=["capitals", "slash", "query", "fragment", "scheme"],
)
def test_spelling_does_not_matter(url: str) -> None:
    """Capitals, a trailing slash, a query and a fragment change nothing and need no warning."""
    assert parse_address(url, loopback_allowed=False) == AgentAddress(ENDPOINT, WORKSPACE, AGENT, translated=False)


@pytest.mark.parametrize(
    "url",
    [
        f"{OLD}/dataagents/{AGENT}/aiassistant/openai",
        f"{OLD}/DataAgents/{AGENT}/aiassistant/openai/",
        f"{OLD}/aiskills/{AGENT}/aiassistant/openai?x=1",
        f"{OLD}/dataagents/{AGENT}/aiassistant/openai/threads",
        f"{OLD}/aiskills/{AGENT}/__private/aiassistant/threads/fabric?tag=a",
        f"https://api.fabric.microsoft.com/v1/mcp/workspaces/{WORKSPACE}/dataagents/{AGENT}",
        f"{CAPACITY}/v1/workspaces/{WORKSPACE}/artifacts/{AGENT}/aiassistant/openai",
        f"https://app.fabric.microsoft.com/groups/{WORKSPACE}/aiskills/{AGENT}?experience=fabric-developer",
        f"https://app.powerbi.com/groups/{WORKSPACE}/dataagents/{AGENT}",
        f"https://app.fabric.microsoft.com{PATH}",
    ],
    ids=[
        "assistants",
        "capitals",
        "aiskills",
        "suffix",
        "thread-helper",
        "no-agent-suffix",
        "capacity",
        "portal",
        "power-bi",
        "portal-with-endpoint-path",
    ],
)
def test_an_older_form_is_translated(url: str) -> None:
    """An Assistants, capacity or portal address becomes the MCP endpoint of the same agent, and says so."""
    assert parse_address(url, loopback_allowed=False) == AgentAddress(ENDPOINT, WORKSPACE, AGENT, translated=True)


def test_an_older_form_keeps_its_ring() -> None:
    """An Assistants address on a ring is translated to that ring, where the agent is."""
    url = f"https://msitapi.fabric.microsoft.com/v1/workspaces/{WORKSPACE}/aiskills/{AGENT}/aiassistant/openai"
    assert parse_address(url, loopback_allowed=False).url == f"https://msitapi.fabric.microsoft.com{PATH}"


@pytest.mark.parametrize(
    "host", ["localhost:8443", "localhost", "127.0.0.1:9443", "127.8.9.10:1", "[::1]:8443", "[::1]"]
)
def test_loopback_is_an_emulator_only_where_it_is_allowed(host: str) -> None:
    """An address on this machine keeps its host and port in development, and is refused elsewhere."""
    url = f"https://{host}{PATH}"
    assert parse_address(url, loopback_allowed=True) == AgentAddress(url, WORKSPACE, AGENT, translated=False)
    with pytest.raises(UnknownAddress):
        parse_address(url, loopback_allowed=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not an address",
        f"http://api.fabric.microsoft.com{PATH}",
        f"https://evil.example{PATH}",
        f"https://api.fabric.microsoft.com.evil.example{PATH}",
        f"https://evil.example/api.fabric.microsoft.com{PATH}",
        f"https://xapi.fabric.microsoft.com{PATH}",
        f"https://user:pass@api.fabric.microsoft.com{PATH}",
        f"https://api.fabric.microsoft.com@evil.example{PATH}",
        f"https://user@localhost:8443{PATH}",
        f"https://api.fabric.microsoft.com:443{PATH}",
        f"https://api.fabric.microsoft.com:{PATH}",
        f"https://api.fabric.microsoft.com.{PATH}",
        f"https://\u0430pi.fabric.microsoft.com{PATH}",
        f"https://api.fabric.m\u0131crosoft.com{PATH}",
        f"https://api\u3002fabric.microsoft.com{PATH}",
        f"https://xn--pi-6kc.fabric.microsoft.com{PATH}",
        f"https://api.fabric.microsoft.com\n{PATH}",
        f"https://api.fabric.microsoft.com\\@evil.example{PATH}",
        f"https://{'0' * 32}.z00.w.api.fabric.microsoft.com{PATH}",
        f"https://{WORKSPACE.replace('-', '')}.zff.w.api.fabric.microsoft.com{PATH}",
        f"https://pbidedicated.windows.net.evil.example{PATH}",
        f"https://evilpbidedicated.windows.net{PATH}",
        f"https://localhost:99999{PATH}",
        f"https://localhost:0{PATH}",
        f"https://localhost:{PATH}",
        f"https://[localhost]:8443{PATH}",
        f"https://[::1{PATH}",
        f"https://[::2]:8443{PATH}",
        f"https://localhost.evil.example:8443{PATH}",
        f"http://localhost:8443{PATH}",
        "https://api.fabric.microsoft.com/v1/mcp/workspaces/{workspace}/dataagents/{agent}/agent",
        f"https://api.fabric.microsoft.com/v1/mcp/workspaces/<id>/dataagents/{AGENT}/agent",
        f"https://api.fabric.microsoft.com{PATH.replace(AGENT, '00000000-0000-0000-0000-000000000000')}",
        f"https://api.fabric.microsoft.com/v1/mcp/dataPlane/workspaces/{WORKSPACE}/items/{AGENT}/ontologyEndpoint",
        "https://api.fabric.microsoft.com/v1/mcp/powerbi",
        f"https://app.fabric.microsoft.com/groups/me/aiskills/{AGENT}",
    ],
)
def test_anything_else_is_refused_without_repeating_it(url: str) -> None:
    """A foreign, plain, disguised or unfinished address is refused, and the refusal never quotes it."""
    with pytest.raises(UnknownAddress) as refusal:
        parse_address(url, loopback_allowed=True)
    assert "must " in str(refusal.value)
    assert not url or url not in str(refusal.value)
    assert "evil" not in str(refusal.value)


URLS = st.one_of(
    st.text(),
    st.from_regex(
        rf"https?://([a-z]{{0,4}}api\.fabric\.microsoft\.com|app\.powerbi\.com|localhost|\[::1\]|127\.0\.0\.[0-9]"
        rf"|[0-9a-f]{{32}}\.z[0-9a-f]{{2}}\.w\.api\.fabric\.microsoft\.com|[^/]{{0,20}})(:[0-9]{{0,6}})?"
        rf"/.{{0,9}}/?(workspaces|groups)/({WORKSPACE}|[0-9a-f-]{{36}})/(dataagents|aiskills|artifacts)/{AGENT}(/.{{0,9}})?",
        fullmatch=True,
    ),
)
SAFE_HOST = re.compile(
    r"((msit|daily|dxt)?api\.fabric\.microsoft\.com|highapi\.fabric\.microsoft\.us"
    r"|[0-9a-f]{32}\.z[0-9a-f]{2}\.w\.api\.fabric\.microsoft\.com|localhost|127\.[0-9.]+|::1)"
)


@given(url=URLS, loopback=st.booleans())
@example(url="https://[", loopback=True)
def test_whatever_is_configured_the_token_stays_with_fabric(url: str, loopback: bool) -> None:
    """Any text is refused or leads to an allowed host by https; what comes out is an address in its own right."""
    with contextlib.suppress(UnknownAddress):
        address = parse_address(url, loopback_allowed=loopback)
        parts = urlsplit(address.url)
        assert parts.scheme == "https"
        assert SAFE_HOST.fullmatch(parts.hostname or "")
        assert parts.username is None
        again = parse_address(address.url, loopback_allowed=loopback)
        assert again == AgentAddress(address.url, address.workspace_id, address.agent_id, translated=False)
