"""An answer as it is given, with what the reply tells of it."""

from dataclasses import dataclass

from lib.answers.cache import Kept


@dataclass(frozen=True)
class Given:
    """An answer as it is given, `age` seconds after it was asked for.

    It was `fetched` for this question, `joined` where another one like it was under way, or `kept`. It stays fresh for
    `fresh_for` seconds more; a kept one that does not is `stale`, and was given since the agent cannot be asked.
    `limits` are the reply's fields that tell how much is left.
    """

    kept: Kept
    how: str
    age: int
    fresh_for: int
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def json(self) -> bytes:
        """The answer as JSON."""
        return self.kept.json

    @property
    def stale(self) -> bool:
        """Whether it is older than it should be."""
        return self.how == "kept" and self.fresh_for <= 0
