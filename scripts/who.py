"""What audit lines call a person, or an app: `python -m scripts.who --vault NAME TENANT OBJECT`.

For whoever may read `index-key`, by their sign-in at the Azure CLI. The key is neither printed nor kept; without it the
name cannot be turned back into the person.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lib.environ import GUID
from lib.errors import StateUnavailable
from lib.storage.row_keys import RowKeys
from lib.storage.secret_keys import INDEX_KEY
from scripts.doctor.azure_cli import AzureCliFailed, az

if TYPE_CHECKING:
    from lib.storage.key_vault import KeyVault


class _ByAzureCli:
    """A vault, read by the Azure CLI."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def secret(self, name: str) -> str:
        """The value of a secret."""
        return str(
            await az("keyvault", "secret", "show", "--vault-name", self._name, "--name", name, "--query", "value")
        )


async def pseudonym(vault: str, tenant_id: str, object_id: str) -> str:
    """`who` in the audit lines of a principal. Raises `AzureCliFailed`, or `StateUnavailable` for an odd key."""
    keys = RowKeys(cast("KeyVault", _ByAzureCli(vault)))
    return await keys.pseudonym(await keys.partition(tenant_id, object_id))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints it; returns 1 where the key cannot be read."""
    options = _options(arguments)
    try:
        print(asyncio.run(pseudonym(options.vault, options.tenant, options.object)))
    except AzureCliFailed as fault:
        print(f"{fault.cause}: {fault.command}", file=sys.stderr)
        return 1
    except StateUnavailable:
        print(f"{INDEX_KEY} of {options.vault} is not a key of 32 bytes in base64", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.who", description="What audit lines call a principal.")
    parser.add_argument("--vault", required=True, help="name of the gateway's vault")
    parser.add_argument("tenant", type=_guid, help="tenant id")
    parser.add_argument("object", type=_guid, help="object id of the person or app in that tenant")
    return parser.parse_args(arguments)


def _guid(text: str) -> str:
    if not GUID.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError("must be a GUID")
    return text.lower()


if __name__ == "__main__":
    sys.exit(main())
