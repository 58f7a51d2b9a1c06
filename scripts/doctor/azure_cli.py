"""The Azure CLI, asked for JSON: what is told of a deployed app that the app itself does not know."""

import asyncio
import json
import shutil
from typing import Any

SECONDS = 60


class AzureCliFailed(Exception):
    """The Azure CLI is not there, says no, or takes too long; `cause` says which, and `command` is what was run."""

    def __init__(self, cause: str, command: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.command = command


async def az(*arguments: str) -> Any:
    """What `az` prints with these arguments, parsed. What it says of a failure is not repeated: run it to read it."""
    command = f"az {' '.join(arguments)}"
    program = shutil.which("az")
    if program is None:
        raise AzureCliFailed(
            "the Azure CLI is not installed here", "https://learn.microsoft.com/cli/azure/install-azure-cli"
        )
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        "--output",
        "json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SECONDS):
            printed, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AzureCliFailed(f"the Azure CLI did not answer within {SECONDS} s", command) from None
    if process.returncode:
        raise AzureCliFailed("the Azure CLI refuses; it says why when the command is run", command)
    try:
        return json.loads(printed)
    except ValueError:
        raise AzureCliFailed("the Azure CLI did not print JSON", command) from None
