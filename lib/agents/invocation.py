"""One question at an agent, as it is told: the step `ask`, how long it took, and how many are under way.

The names are those of https://opentelemetry.io/docs/specs/semconv/gen-ai. What is asked and answered is in none.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lib.telemetry import metrics
from lib.telemetry.signals import Value, count, error_type, measure, span


@contextmanager
def invocation(agent: str) -> Iterator[None]:
    """Holds one question to the agent of that name, with what has to be found out before it."""
    told: dict[str, Value] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "microsoft.fabric",
        "gen_ai.agent.name": agent,
    }
    began = time.perf_counter()
    count(metrics.QUESTIONS_UNDER_WAY, {"agent": agent})
    try:
        with span("ask", dict(told)):
            yield
    except BaseException as fault:
        told["error.type"] = error_type(fault)
        raise
    finally:
        count(metrics.QUESTIONS_UNDER_WAY, {"agent": agent}, by=-1)
        measure(metrics.AGENT_CALLS, time.perf_counter() - began, told)
