"""What the first question needs and an instance starts without: imported in a thread once its first reply is out.

An instance starts with little, so that whoever made it start waits for little. Where that was not a question, as with
a probe of its health, nobody has to wait for the rest either.
"""

import asyncio
import logging
import pkgutil
import threading
from importlib import import_module
from pathlib import Path

AFTER_SECONDS = 0.5
"""The first reply has left by then."""
HEAVY = (
    "azure.identity.aio",
    "cryptography.hazmat.primitives.ciphers.aead",
    "markdown_it.rules_block",
    "msal",
    "sniffio",
    "tenacity",
)
"""What modules of ours import within functions."""
WHERE_CONFIGURED = "lib.telemetry."
"""`lib.telemetry.exporting` loads what sends, where anything is to be sent."""

_log = logging.getLogger(__name__)


class Prefetch:
    """Does it once for the process."""

    def __init__(self) -> None:
        self._begun = False

    def soon(self) -> None:
        """Begins, where that has not happened, once what is under way has had its time."""
        if not self._begun:
            self._begun = True
            thread = threading.Thread(target=prefetch, name="prefetch", daemon=True)
            asyncio.get_running_loop().call_later(AFTER_SECONDS, thread.start)


def prefetch() -> None:
    """Imports all of it. What cannot be imported is left to whoever needs it."""
    ours = [module.name for module in pkgutil.walk_packages([str(Path(__file__).parent)], "lib.")]
    for name in (*HEAVY, *(name for name in ours if not name.startswith(WHERE_CONFIGURED))):
        try:
            import_module(name)
        except Exception as fault:  # noqa: BLE001  # whatever it is: nobody is waiting here
            _log.warning("a module cannot be imported", extra={"module_name": name, "fault": type(fault).__name__})
