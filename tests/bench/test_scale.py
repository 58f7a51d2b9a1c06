"""The limits of scale are what the page says, and arithmetic that can be done by hand."""

import logging

import pytest

from bench.scale import PAGE, Assumed, crowd, waiting, written


def test_the_page_says_what_is_worked_out() -> None:
    """Chance is seeded, and no clock is in it."""
    page = PAGE.read_text(encoding="utf-8")
    logging.disable()
    try:
        assert written(page) == page
    finally:
        logging.disable(logging.NOTSET)


def test_places_bound_a_slow_agent_and_the_processor_a_quick_one() -> None:
    """Little's law: what is under way is rate times time."""
    assumed = Assumed(uncached=10, concurrency=32)
    assert waiting(5, 20, assumed) == pytest.approx(8)
    assert waiting(5, 0.05, assumed) == pytest.approx(500)
    assert waiting(5, 0.05, assumed, cores=0.25) == pytest.approx(125)


def test_a_crowd_is_refused_only_past_its_places_and_the_others_are_served_as_before() -> None:
    """Of twice as many as there is room for about half is refused, and nobody who gets in waits for more than 2 s."""
    few, many = crowd(8, 2), crowd(32, 2)
    assert few.refused == 0
    assert 0.45 < many.refused / many.asked < 0.55
    assert max(many.seconds) <= 2 + 3
    assert len(many.seconds) + many.refused == many.asked


def test_a_page_without_a_place_for_the_tables_is_an_error() -> None:
    """Rather than tables that nobody sees."""
    with pytest.raises(ValueError, match="no place"):
        written("nothing")
