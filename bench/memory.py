"""What stays of a hundred thousand requests in the process: nothing, once all memories it may have are full."""

import json
import os
import resource
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.agent import path
from bench.inside import Inside, ask, bearer, get
from bench.row import Row
from bench.stage import Stage

REQUESTS = 100_000
USERS = 10_000
ASKING = 50
"""So many of them have their own questions reach the agent."""
EVERY = 500
_UNCACHED_EVERY = 100
_QUESTION = "What are the total sales by month?"
_MIX = (
    f"{REQUESTS:,} requests in one process: of five three of health, one rejected token, one kept answer of a shared "
    f"agent, by {USERS:,} people in turn, each with a token of their own; and every {_UNCACHED_EVERY}th time a "
    "question that reaches the agent and storage."
)


def rows(stage: Stage) -> Iterator[Row]:
    """What the process holds, and how it grows."""
    with stage.people(USERS) as people, stage.agent() as agent:
        url, own = agent.secure + path(0), "private"
        described = {
            "shared": {"url": url, "identity": "app", "shared": True, "cache_seconds": 3600},
            own: {"url": url},
        }
        tokens = [stage.token(person) for person in people]
        settings = {"DATA_AGENTS": json.dumps(described), "APP_CALLS_PER_MINUTE": "6000"}
        found = stage.inside("memory", tokens, settings)
    last = found["samples"][-(len(found["samples"]) // 3) :]
    slope, error = regression([float(EVERY * number) for number in range(len(last))], last)
    yield Row("resident memory after the first 1,000 requests", found["samples"][1000 // EVERY] / 2**20, "MiB", _MIX)
    yield Row("resident memory at the end", last[-1] / 2**20, "MiB", "The same process.", last[0] / 2**20)
    yield Row(
        "growth in the last third",
        (last[-1] - last[0]) / 2**20,
        "MiB",
        "Everybody has come once by the middle, and what is remembered of people is full; beside: by regression.",
        slope * EVERY * len(last) / 2**20,
        "± 5 MiB",
    )
    yield Row(
        "growth of a request",
        slope,
        "bytes",
        f"By regression over the last third, a sample each {EVERY} requests; twice its standard error: "
        f"{2 * error:.2g} bytes.",
        target="0 within the error",
    )


def regression(at: list[float], values: list[float]) -> tuple[float, float]:
    """Slope of the straight line through the values, and its standard error."""
    slope, intercept = statistics.linear_regression(at, values)
    left = [value - slope * x - intercept for x, value in zip(at, values, strict=True)]
    middle = statistics.fmean(at)
    spread = sum((x - middle) ** 2 for x in at)
    return slope, (sum(each**2 for each in left) / (len(at) - 2) / spread) ** 0.5


async def measure(gateway: Inside, tokens: list[str]) -> dict[str, Any]:
    """The resident memory, sampled all along."""
    samples = []
    for number in range(REQUESTS):
        if number % EVERY == 0:
            samples.append(_resident())
        await _one(gateway, tokens, number)
        if number % _UNCACHED_EVERY == 0:
            await _uncached(gateway, tokens[number // _UNCACHED_EVERY % ASKING])
    return {"samples": samples}


async def _one(gateway: Inside, tokens: list[str], number: int) -> None:
    match number % 5:
        case 3:
            token = tokens[number % ASKING]
            forged = bearer(token[:-8] + token[-8:][::-1]) | {"client-ip": f"10.0.{number // 5 % 200}.1"}
            await gateway.expect(401, "query_ask", ask(forged, _QUESTION, agent="shared"))
        case 4:
            token = tokens[number // 5 % len(tokens)]
            await gateway.expect(200, "query_ask", ask(bearer(token), _QUESTION, agent="shared"))
        case _:
            await gateway.expect(200, "health_alive", get("/health", {}))


async def _uncached(gateway: Inside, token: str) -> None:
    """One question whose answer takes the place of the one before: an answer that is kept for longer is no leak."""
    headers = bearer(token) | {"cache-control": "no-cache"}
    await gateway.expect(200, "query_ask", ask(headers, _QUESTION, agent="private"))


def _resident() -> float:
    """Bytes; where Linux does not tell, the most there ever were."""
    told = Path("/proc/self/statm")
    if told.is_file():
        return float(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else most * 1024
