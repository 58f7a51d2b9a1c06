"""Rules for what a caller prefers about waiting."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.web.prefer import MAX_LENGTH, Preference, preference

LONGEST = 90


@pytest.mark.parametrize(
    ("header", "wait", "applied"),
    [
        ("respond-async", 0, "respond-async"),
        ("Respond-Async", 0, "respond-async"),
        ('respond-async=""', 0, "respond-async"),
        ("respond-async; soon", 0, "respond-async"),
        ("wait=10", 10, "wait=10"),
        ('WAIT = "10"', 10, "wait=10"),
        ("wait=0", 0, "wait=0"),
        ("wait=007", 7, "wait=7"),
        ("wait=10; foo=bar", 10, "wait=10"),
        ("respond-async, wait=10", 10, "respond-async, wait=10"),
        ("wait=10,respond-async", 10, "respond-async, wait=10"),
        ("return=minimal, wait=5, handling=lenient", 5, "wait=5"),
        ("wait=91", 90, "wait=90"),
        (f"wait={'9' * 100}", 90, "wait=90"),
    ],
)
def test_respond_async_and_wait_are_read(header: str, wait: int, applied: str) -> None:
    """In any order and case, beside others; nobody waits for longer than may be."""
    assert preference(header, longest=LONGEST) == Preference(wait, applied)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "wait",
        "wait=",
        "wait=soon",
        "wait=-1",
        "wait=1.5",
        "wait=+5",
        'wait="5',
        "wait=5 6",
        "wait=٣",
        "waiting=5",
        "respond-asynchronously",
        "return=minimal",
        'x="respond-async, wait=5"',
        'x="a, respond-async, b"',
        'x="\\", respond-async, wait=5"',
        "=respond-async",
    ],
    ids=ascii,
)
def test_what_says_nothing_about_waiting_is_passed_over(header: str) -> None:
    """Other preferences, what cannot be read, and words within another one's value: it is never an error."""
    assert preference(header, longest=LONGEST) is None


@pytest.mark.parametrize(
    ("header", "wait"),
    [("wait=5, wait=50", 5), ("respond-async, wait=x, wait=5", 0), ('foo="a, b", wait=5', 5), ("wait=5;x, wait=9", 5)],
)
def test_of_two_the_first_counts(header: str, wait: int) -> None:
    """RFC 7240, section 2; also where the first one cannot be read."""
    preferred = preference(header, longest=LONGEST)
    assert preferred is not None
    assert preferred.wait == wait


def test_a_header_without_end_is_read_as_far_as_one_may_be_long() -> None:
    """What comes behind that says nothing."""
    assert preference(" " * MAX_LENGTH + ",respond-async", longest=LONGEST) is None
    assert preference("respond-async," + "x" * 100_000, longest=LONGEST) == Preference(0, "respond-async")


@given(st.text(max_size=60) | st.text(st.sampled_from('wait=respond-async,;" \\0159'), max_size=60))
def test_whatever_comes_is_a_preference_within_bounds_or_none(header: str) -> None:
    """What is told as applied is what was asked for, and may stand in a header."""
    preferred = preference(header, longest=LONGEST)
    if preferred:
        assert 0 <= preferred.wait <= LONGEST
        assert re.fullmatch("respond-async|(respond-async, )?wait=[0-9]+", preferred.applied)
        assert ("respond-async" in header.lower()) or ("wait" in header.lower())


@given(st.integers(0, 10**6), st.lists(st.sampled_from(["return=minimal", 'x="a, b"', "y; z=1"]), max_size=3))
def test_a_wait_is_found_among_others(seconds: int, others: list[str]) -> None:
    """Wherever it stands."""
    for place in range(len(others) + 1):
        header = ", ".join([*others[:place], f"wait={seconds}", *others[place:]])
        preferred = preference(header, longest=LONGEST)
        assert preferred == Preference(min(seconds, LONGEST), f"wait={min(seconds, LONGEST)}")
