"""One line of the table: what was measured, what stands beside it in the same run, and how it was done."""

import math
from dataclasses import dataclass

type Measured = float | tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A measured `value`, and the one `beside` it that it is to be judged by; of several, each by its own."""

    name: str
    value: Measured
    unit: str
    method: str
    beside: Measured | None = None
    target: str = ""

    @property
    def ratio(self) -> Measured | None:
        """How many times the value is what stands beside it; None where nothing does."""
        if self.beside is None:
            return None
        if isinstance(self.value, tuple) and isinstance(self.beside, tuple):
            return tuple(_divided(*pair) for pair in zip(self.value, self.beside, strict=True))
        if isinstance(self.value, tuple) or isinstance(self.beside, tuple):
            raise TypeError(f"{self.name}: one value stands beside many")
        return _divided(self.value, self.beside)


def told(measured: Measured | None) -> str:
    """The number, or the numbers, in three digits; a dash for what is not one, nothing where there is none."""
    if measured is None:
        return ""
    if isinstance(measured, tuple):
        return " / ".join(told(each) for each in measured)
    if math.isnan(measured):
        return "–"
    if measured == int(measured):
        return f"{int(measured):,}"
    return f"{measured:,.0f}" if abs(measured) >= 100 else f"{measured:.3g}"  # noqa: PLR2004  # three digits


def _divided(value: float, beside: float) -> float:
    return value / beside if beside else math.nan
