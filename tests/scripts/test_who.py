"""What audit lines call a person, for who may read the key."""

import base64
import hashlib
import hmac

import pytest

from scripts.who import main
from tests.scripts.azure_cli import AzureCli
from tests.scripts.patients import IDENTITY, TENANT

SHOWN = "keyvault secret show --vault-name kv-gateway --name index-key*"
ARGUMENTS = ("--vault", "kv-gateway", TENANT.upper(), IDENTITY)


def framed(*texts: str) -> bytes:
    """Texts as they are hashed."""
    return b"".join(len(text).to_bytes(4) + text.encode() for text in texts)


def test_the_name_is_that_of_the_audit_lines(azure_cli: AzureCli, capsys: pytest.CaptureFixture[str]) -> None:
    """Another form would find nobody's lines."""
    key = b"k" * 32
    azure_cli.answers(SHOWN, base64.b64encode(key).decode())
    assert main(ARGUMENTS) == 0
    partition = hmac.new(key, framed("partition", TENANT, IDENTITY), hashlib.sha256).hexdigest()[:32]
    name = hmac.new(key, framed("audit", partition), hashlib.sha256).hexdigest()[:32]
    assert capsys.readouterr().out == f"{name}\n"


def test_who_may_not_read_the_key_is_told_how_to_learn_why(
    azure_cli: AzureCli, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is shown, which says it."""
    azure_cli.forget()
    assert main(ARGUMENTS) == 1
    assert "az keyvault secret show --vault-name kv-gateway" in capsys.readouterr().err


def test_a_key_that_is_none_is_told_and_not_shown(azure_cli: AzureCli, capsys: pytest.CaptureFixture[str]) -> None:
    """With it the gateway would serve nobody."""
    azure_cli.answers(SHOWN, "not-a-key")
    assert main(ARGUMENTS) == 1
    told = capsys.readouterr()
    assert "index-key" in told.err
    assert "not-a-key" not in told.out + told.err


def test_what_is_no_id_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name or an address would be hashed like an id, and find nobody."""
    with pytest.raises(SystemExit):
        main(("--vault", "kv-gateway", TENANT, "alice@contoso.com"))
    assert "must be a GUID" in capsys.readouterr().err
