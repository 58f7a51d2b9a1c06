"""What the gateway says to its log while it is examined: nobody reads that here but the doctor.

An error of the gateway's does not tell why Entra refused something: the number of the refusal, which names the cause,
goes to the log alone.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Overheard(logging.Handler):
    """Keeps the AADSTS number of the last refusal; everything else that is logged ends here."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one line in."""
        number = getattr(record, "error_code", 0)
        if isinstance(number, int) and number:
            self._number = number

    def number(self) -> int:
        """The number that was told since the last look, 0 where there was none."""
        told, self._number = self._number, 0
        return told


@contextmanager
def listening() -> Iterator[Overheard]:
    """Listens to all that this process logs."""
    ear, root, gateways = Overheard(), logging.getLogger(), logging.getLogger("lib")
    before = gateways.level
    gateways.setLevel(logging.INFO)
    root.addHandler(ear)
    try:
        yield ear
    finally:
        root.removeHandler(ear)
        gateways.setLevel(before)
