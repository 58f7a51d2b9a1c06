"""What the first question needs and an instance starts without: imported once its first reply is out.

An instance starts with little, so that whoever made it start waits for little. Where that was not a question, as with
a probe of its health, nobody has to wait for the rest either. It goes module by module on the event loop, which each
holds up for what it takes to import, as the first question would. A thread would hold up nobody, and show half of a
package to a question that imports it at the same time: packages whose modules import each other have no order that
would be safe from both sides.
"""

import asyncio
import logging
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

AFTER_SECONDS = 0.5
"""The first reply has left by then."""
PAUSE_SECONDS = 0.01
"""Between two modules, for whoever has come meanwhile."""
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
        self._names: Iterator[str] | None = None

    def soon(self, then: Callable[[], object]) -> None:
        """Begins, where that has not happened, once what is under way has had its time; calls `then` when all is done.

        That is for who imports in a thread: from then on nobody else does.
        """
        if self._names is None:
            self._names = names()
            asyncio.get_running_loop().call_later(AFTER_SECONDS, self._next, self._names, then)

    def _next(self, left: Iterator[str], then: Callable[[], object]) -> None:
        """Imports one. What cannot be imported is left to whoever needs it."""
        name = next(left, None)
        if name is None:
            then()
            return
        try:
            import_module(name)
        except Exception as fault:  # noqa: BLE001  # whatever it is: nobody is waiting here
            _log.warning("a module cannot be imported", extra={"module_name": name, "fault": type(fault).__name__})
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._next, left, then)


def names() -> Iterator[str]:
    """The modules: the heavy ones apart, so that none holds the loop up for all of them."""
    yield from HEAVY
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], "lib."):
        if not module.name.startswith(WHERE_CONFIGURED):
            yield module.name
