"""What the instances of the gateway tell each other about one agent: notices, as on a board that all of them read."""

from dataclasses import dataclass
from typing import Protocol

from lib.agents.discovery import Discovery


@dataclass(frozen=True)
class Notice:
    """What is known of an agent elsewhere.

    For `cooldown_seconds` more nobody is to call it; `discovery` is good for `discovery_seconds` more. `answers` is how
    the last call or probe of the last minutes ended, None where there was none.
    """

    cooldown_seconds: float = 0
    discovery: Discovery | None = None
    discovery_seconds: float = 0
    answers: bool | None = None


class Notices(Protocol):
    """The board. Telling and reading are optimisations: what fails there is logged, and never raised."""

    async def read(self, *, at_once: bool = False) -> Notice:
        """What others have told a moment ago; `at_once` what they have told by now."""
        ...

    async def tell_cooldown(self, seconds: float) -> None:
        """Tells that nobody is to call the agent for so long."""
        ...

    async def tell_discovery(self, found: Discovery, seconds: float) -> None:
        """Tells what was found out, and for how long it is good."""
        ...

    async def tell_health(self, *, answers: bool) -> None:
        """Tells whether the agent could be reached."""
        ...


class NoNotices:
    """The board of an instance that is alone."""

    async def read(self, *, at_once: bool = False) -> Notice:  # noqa: ARG002  # there is nothing either way
        """Nobody has told anything."""
        return Notice()

    async def tell_cooldown(self, seconds: float) -> None:
        """Nobody listens."""

    async def tell_discovery(self, found: Discovery, seconds: float) -> None:
        """Nobody listens."""

    async def tell_health(self, *, answers: bool) -> None:
        """Nobody listens."""
