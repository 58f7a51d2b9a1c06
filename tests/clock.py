"""The clock of the tests."""


class Clock:
    """Seconds, as a function; they pass when a test says so, or when something sleeps on the clock."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Lets that much time pass."""
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        """Lets that much time pass, and remembers it."""
        self.slept.append(seconds)
        self.now += seconds
