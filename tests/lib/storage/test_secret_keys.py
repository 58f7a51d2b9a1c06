"""Keys in secrets: 32 bytes in base64, or nothing."""

import pytest

from lib.storage.secret_keys import decode_key
from tests.lib.conftest import new_key


def test_a_key_is_32_bytes_in_base64() -> None:
    """White space around it, as a file's last line has it, does no harm."""
    assert decode_key("index-key", f"{'QUFB' * 10}QUE=\n") == b"A" * 32


@pytest.mark.parametrize(
    "value",
    ["", "QUFB", "QUFB" * 11, f"{'QUFB' * 10}QU!E=", "ä", new_key()[:-1]],
    ids=["empty", "short", "long", "letters", "umlaut", "padding"],
)
def test_a_value_that_is_no_key_is_named_in_the_log(value: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the secret's name, without its value."""
    assert decode_key("index-key", value) is None
    [record] = caplog.records
    assert record.__dict__["secret"] == "index-key"
    assert not value or value not in caplog.text
