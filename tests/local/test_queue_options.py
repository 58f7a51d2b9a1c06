"""`extensions.queues` of host.json, as the host reads it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.queue_options import QueueOptions, seconds_of

ROOT = Path(__file__).parents[2]


def test_the_defaults_are_the_hosts() -> None:
    """A failed message is visible again at once, and an empty queue is asked every minute at least."""
    assert QueueOptions.read({}) == QueueOptions(16, 8, 5, 60.0, 0)


def test_each_option_is_read() -> None:
    """Time spans become seconds."""
    options = {
        "maxPollingInterval": "00:00:00.5",
        "visibilityTimeout": "1.01:01:01",
        "batchSize": 4,
        "newBatchThreshold": 0,
        "maxDequeueCount": 1,
    }
    assert QueueOptions.read(options) == QueueOptions(4, 0, 1, 0.5, 90061)


def test_the_threshold_is_half_a_batch_where_nothing_is_said() -> None:
    """The rule of the host for one processor."""
    assert QueueOptions.read({"batchSize": 5}).new_batch_threshold == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batchSize": 0}, "out of range"),
        ({"batchSize": 33}, "out of range"),
        ({"newBatchThreshold": -1}, "out of range"),
        ({"maxDequeueCount": 0}, "out of range"),
        ({"maxPollingInterval": "00:00:00"}, "out of range"),
        ({"maxPollingInterval": "2000"}, "'2000' is no time span"),
        ({"visibilityTimeout": "00:00:60"}, "'00:00:60' is no time span"),
        ({"messageEncoding": "none", "unknown": 1}, r"does not know extensions\.queues\.messageEncoding"),
    ],
)
def test_a_mistake_is_told(options: dict[str, Any], told: str) -> None:
    """What the host refuses is refused here, and so is what is not done here."""
    with pytest.raises(ValueError, match=told):
        QueueOptions.read(options)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=9999)))
def test_a_time_span_is_read_as_dotnet_writes_it(span: timedelta) -> None:
    """Days and fractions stand there only where there are any."""
    minutes, seconds = divmod(span.seconds, 60)
    days = f"{span.days}." if span.days else ""
    fraction = f".{span.microseconds:06}0" if span.microseconds else ""
    written = f"{days}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"
    assert seconds_of(written) == pytest.approx(span.total_seconds())


@given(st.text("0123456789:.- ", max_size=20))
def test_any_other_text_is_refused(text: str) -> None:
    """With an error that says what a time span is."""
    try:
        assert seconds_of(text) >= 0
    except ValueError as refusal:
        assert "no time span" in str(refusal)


def test_the_gateways_own_options_are_known() -> None:
    """A failed question is tried again after half a minute, and a new one begins within two seconds."""
    options = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert QueueOptions.read(options) == QueueOptions(16, 8, 5, 2.0, 30)
