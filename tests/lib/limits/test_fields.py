"""Rules for the fields that tell how much is left."""

import re
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from lib.limits.fields import fields
from lib.limits.usage import DAY_MS, Limits, Slot, Usage

LIMITS = Limits(per_minute=20, burst=3, per_day=300, in_flight=2)

_STRING = re.compile(r'"([ !#-\[\]-~]*)"')
_INTEGER = re.compile(r"-?[0-9]{1,15}")
_PARAMETER = re.compile(r";[ ]*([a-z*][a-z0-9_.*-]*)=")


def items(field: str) -> Iterator[tuple[str, dict[str, str | int]]]:
    """The strings in a list of strings with parameters (RFC 9651, section 3.1), as far as the draft needs them."""
    position = 0
    while True:
        name = _STRING.match(field, position)
        assert name, field[position:]
        position, parameters = name.end(), dict[str, str | int]()
        while key := _PARAMETER.match(field, position):
            string, number = _STRING.match(field, key.end()), _INTEGER.match(field, key.end())
            value = string or number
            assert value, field[key.end() :]
            parameters[key[1]] = string[1] if string else int(value[0])
            position = value.end()
        yield name[1], parameters
        if position == len(field):
            return
        assert field.startswith(", ", position), field[position:]
        position += 2


ROWS = st.builds(
    Usage,
    tat=st.integers(0, 10 * DAY_MS),
    day=st.integers(0, 10),
    asked=st.integers(0, 400),
)
SOME = st.builds(
    Limits,
    per_minute=st.integers(1, 6000),
    burst=st.integers(1, 1000),
    per_day=st.none() | st.integers(1, 1_000_000),
    in_flight=st.none() | st.integers(1, 100),
    name=st.sampled_from(["minute", "app"]),
)


@given(SOME, ROWS, st.integers(0, 10 * DAY_MS))
def test_both_are_lists_of_structured_fields_as_the_draft_has_them(limits: Limits, usage: Usage, now: int) -> None:
    """Each policy tells its quota, and each limit with a policy what is left of it."""
    (first, limit), (second, policy) = fields(limits, usage, now)
    assert (first, second) == ("RateLimit", "RateLimit-Policy")
    left, policies = dict(items(limit)), dict(items(policy))
    assert left.keys() <= policies.keys()
    for parameters in left.values():
        assert parameters.keys() == {"r", "t"}
        assert all(isinstance(value, int) and value >= 0 for value in parameters.values())
    for name, parameters in policies.items():
        quota = parameters["q"]
        assert isinstance(quota, int)
        assert quota > 0
        assert parameters.keys() == ({"q", "qu"} if name == "in-flight" else {"q", "w"})


@given(ROWS, st.integers(0, 10 * DAY_MS))
def test_they_are_true(usage: Usage, now: int) -> None:
    """`r` are let through at once, `t` is when there are more, and a refusal never lasts longer than `t` seconds."""
    told = dict(items(fields(LIMITS, usage, now)[0][1]))
    left, seconds = int(told["minute"]["r"]), int(told["minute"]["t"])
    assert left == LIMITS.rate.left(usage.tat, now)
    assert left == LIMITS.burst or LIMITS.rate.left(usage.tat, now + seconds * 1000) > left
    assert left == LIMITS.burst or seconds == 0 or LIMITS.rate.left(usage.tat, now + (seconds - 1) * 1000) == left
    assert told["day"]["r"] == usage.left_today(LIMITS, now)
    if refusal := usage.refusal(LIMITS, now):
        assert told[refusal.policy]["r"] == 0
        assert (int(told[refusal.policy]["t"]) - 1) * 1000 < refusal.wait <= int(told[refusal.policy]["t"]) * 1000


def test_they_look_like_this() -> None:
    """Half a second is told as one."""
    usage = Usage(tat=7_500, day=0, asked=2)
    assert dict(fields(LIMITS, usage, 1_000)) == {
        "RateLimit": '"minute";r=0;t=1, "day";r=298;t=86399',
        "RateLimit-Policy": '"minute";q=20;w=60, "day";q=300;w=86400, "in-flight";q=2;qu="concurrent-requests"',
    }


def test_what_does_not_apply_is_not_told() -> None:
    """Calls in the gateway's own name have a rate alone, under its own name."""
    app = Limits(per_minute=100, burst=10, name="app")
    usage = Usage().admitted(app, 5, Slot("x", 9))
    assert dict(fields(app, usage, 5)) == {"RateLimit": '"app";r=9;t=1', "RateLimit-Policy": '"app";q=100;w=60'}
