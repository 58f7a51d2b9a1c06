"""A clock that moves when told to."""


class Clock:
    """Seconds since the epoch, as a function."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves on."""
        self.now += seconds
