"""Rules for the fields that tell how much is left."""

import re

from hypothesis import given
from hypothesis import strategies as st

from lib.limits.fields import fields
from lib.limits.usage import DAY_MS, Limits, Slot, Usage

LIMITS = Limits(per_minute=20, burst=3, per_day=300, in_flight=2)
ITEM = r'"[a-z-]+"(;[a-z]+=([0-9]+|"[a-z-]+"))+'


@given(st.integers(0, 10 * DAY_MS), st.integers(0, 10 * DAY_MS), st.integers(0, 400))
def test_both_are_lists_of_structured_fields_and_true(now: int, tat: int, asked: int) -> None:
    """`r` are let through at once, and `t` is when there are more."""
    usage = Usage(tat=tat, day=now // DAY_MS, asked=asked)
    limit, policy = (value for _, value in fields(LIMITS, usage, now))
    assert re.fullmatch(f"{ITEM}(, {ITEM})*", limit)
    assert re.fullmatch(f"{ITEM}(, {ITEM})*", policy)
    left, seconds = (int(number) for number in re.findall(r'"minute";r=(\d+);t=(\d+)', limit)[0])
    assert left == LIMITS.rate.left(tat, now)
    assert left == LIMITS.burst or LIMITS.rate.left(tat, now + seconds * 1000) > left
    assert f'"day";r={max(0, 300 - asked)};' in limit


def test_what_does_not_apply_is_not_told() -> None:
    """Calls in the gateway's own name have a rate alone, under its own name."""
    app = Limits(per_minute=100, burst=10, name="app")
    usage = Usage().admitted(app, 5, Slot("x", 9))
    assert dict(fields(app, usage, 5)) == {"RateLimit": '"app";r=9;t=1', "RateLimit-Policy": '"app";q=100;w=60'}
