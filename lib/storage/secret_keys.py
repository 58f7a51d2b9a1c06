"""The keys among Key Vault's secrets: their names, and how a secret's value holds a key."""

import base64
import logging

INDEX_KEY = "index-key"
SEALING_KEY = "sealing-key"
KEY_BYTES = 32

_log = logging.getLogger(__name__)


def decode_key(name: str, value: str) -> bytes | None:
    """The key in the value of the secret `name`: 32 bytes in base64. None, and a line in the log, where it is not."""
    try:
        key = base64.b64decode(value.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) == KEY_BYTES:
        return key
    _log.error(
        "a secret is not a key of 32 bytes in base64",
        extra={"event": "credential_trouble", "what": name, "secret": name},
    )
    return None
