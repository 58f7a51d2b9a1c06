"""Each way in which the gateway can prove itself to Entra, down to an answer."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser

type Ask = Callable[[str], tuple[httpx.Response, str]]


@pytest.fixture
def ask_with(browser: Browser, stack: Stack, tmp_path: Path) -> Ask:
    """Asks a gateway that has the given kind of credential; returns the reply, and all that it logged."""

    def ask(kind: str) -> tuple[httpx.Response, str]:
        environment = stack.environment | {"CLIENT_CREDENTIAL": kind, "ANSWER_CACHE_SECONDS": "0"}
        headers = {"Authorization": f"Bearer {browser.token('alice')}"}
        with (tmp_path / "log").open("wb") as log:
            host = Host(free_port(), environment, log)
            try:
                url, body = f"{host.url}/api/query", {"question": "total sales"}
                reply = httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)
            finally:
                host.stop()
        return reply, (tmp_path / "log").read_text(encoding="utf-8")

    return ask


@pytest.mark.parametrize("kind", ["secret", "certificate"])
def test_a_credential_of_key_vault_gets_an_answer(ask_with: Ask, stack: Stack, kind: str) -> None:
    """By client secret and by certificate; the managed identity is what all other tests use."""
    reply, log = ask_with(kind)
    assert reply.status_code == 200, reply.text
    assert stack.vault.get(f"client-{kind}").value not in log
    assert "PRIVATE KEY" not in log


def test_a_credential_that_entra_refuses_is_told_as_our_fault(ask_with: Ask, stack: Stack) -> None:
    """503 with its own code, for it is nothing the caller could mend; and the log tells operators."""
    good = stack.vault.get("client-secret").value
    stack.vault.put("client-secret", "a-wrong-secret-in-the-vault")
    try:
        reply, log = ask_with("secret")
    finally:
        stack.vault.put("client-secret", good)
    assert (reply.status_code, reply.json()["code"]) == (503, "client_credential_rejected")
    assert "7000215" in log
    assert "a-wrong-secret" not in log
