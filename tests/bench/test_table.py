"""The table is written where it belongs, and its ratios are what they say."""

import pytest

from bench.memory import regression
from bench.row import Row, told
from bench.table import BEGIN, END, markdown, put


def test_a_ratio_is_each_value_by_the_one_beside_it() -> None:
    """Of one number, of several, of none."""
    assert Row("a", 6, "ms", "", beside=2).ratio == 3
    assert Row("a", (6, 9), "ms", "", beside=(2, 3)).ratio == (3, 3)
    assert Row("a", 6, "ms", "").ratio is None
    assert told(Row("a", 6, "ms", "", beside=0).ratio) == "–"


def test_one_value_cannot_stand_beside_many() -> None:
    """A mistake in a benchmark is not to look like a result."""
    with pytest.raises(TypeError, match="one value"):
        _ = Row("a", (6, 9), "ms", "", beside=2.0).ratio


@pytest.mark.parametrize(
    ("measured", "text"),
    [(None, ""), (1234567, "1,234,567"), (1234.6, "1,235"), (0.01234, "0.0123"), ((1, 2.5), "1 / 2.5")],
)
def test_numbers_are_told_in_three_digits(measured: float | tuple[float, ...] | None, text: str) -> None:
    """More of them would only be noise."""
    assert told(measured) == text


def test_the_table_takes_the_place_of_the_last_one() -> None:
    """What stands around it stays."""
    page = f"Before\n{BEGIN}\nold\n{END}\nAfter\n"
    written = markdown([Row("a | b", 1, "ms", "how", 2, "≤ 1")])
    assert put(page, written) == f"Before\n{BEGIN}\n\n{written}\n\n{END}\nAfter\n"
    assert written.splitlines()[-1] == "| a / b | 1 | ms | 2 | 0.5 | ≤ 1 | how |"


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_a_place_for_it_is_left_alone(page: str) -> None:
    """Else a measurement would overwrite somebody's words."""
    with pytest.raises(ValueError, match="no place"):
        put(page, "")


def test_growth_is_the_slope_of_a_straight_line_with_its_error() -> None:
    """An exact line has no error; what only goes up and down has no slope beyond it."""
    at = [float(number) for number in range(10)]
    slope, error = regression(at, [3 * each + 1 for each in at])
    assert slope == pytest.approx(3)
    assert error == pytest.approx(0, abs=1e-9)
    slope, error = regression(at, [each % 2 for each in at])
    assert abs(slope) < 2 * error
