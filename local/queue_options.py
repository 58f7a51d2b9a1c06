"""`extensions.queues` of host.json: what the host may be told about queue triggers.

https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue#hostjson-settings
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

SHORTEST_PAUSE = 0.1
"""Seconds; the least that the longest pause between two looks into a queue may be."""
_MOST_IN_A_BATCH = 32
_TIME_SPAN = re.compile(r"(?:(\d{1,8})\.)?([01]?\d|2[0-3]):([0-5]?\d):([0-5]?\d)(\.\d{1,7})?")


@dataclass(frozen=True)
class QueueOptions:
    """The options; times are in seconds. Raises `ValueError` for values that the host refuses."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    max_polling_seconds: float = 60
    visibility_seconds: int = 0

    def __post_init__(self) -> None:
        if not (
            1 <= self.batch_size <= _MOST_IN_A_BATCH
            and self.new_batch_threshold >= 0
            and self.max_dequeue_count >= 1
            and self.max_polling_seconds >= SHORTEST_PAUSE
        ):
            raise ValueError(f"host.json: extensions.queues has a value that is out of range: {self}")

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """The options as they stand there. Raises `ValueError` for one that the local host does not know."""
        known = {"batchSize", "newBatchThreshold", "maxDequeueCount", "maxPollingInterval", "visibilityTimeout"}
        if unknown := options.keys() - known:
            raise ValueError(f"host.json: the local host does not know extensions.queues.{min(unknown)}")
        batch = options.get("batchSize", cls.batch_size)
        return cls(
            batch_size=batch,
            new_batch_threshold=options.get("newBatchThreshold", batch // 2),
            max_dequeue_count=options.get("maxDequeueCount", cls.max_dequeue_count),
            max_polling_seconds=seconds_of(options.get("maxPollingInterval", "00:01:00")),
            visibility_seconds=int(seconds_of(options.get("visibilityTimeout", "00:00:00"))),
        )


def seconds_of(time_span: str) -> float:
    """A time span as .NET writes it: `[days.]hours:minutes:seconds[.fraction]`."""
    match = _TIME_SPAN.fullmatch(time_span)
    if match is None:
        raise ValueError(f"host.json: {time_span!r} is no time span such as 00:00:30")
    days, hours, minutes, seconds, fraction = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + fraction
