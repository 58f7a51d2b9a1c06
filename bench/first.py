"""The first requests of a process: how long each takes, and which modules come with it."""

import asyncio
import sys
import time
from typing import Any

from bench.inside import Inside, ask, bearer, get


async def measure(gateway: Inside, given: dict[str, Any]) -> dict[str, Any]:
    """By request: milliseconds, and the modules that were not there before; after the first a pause, if given."""
    token = given["token"]
    requests = {
        "first request, of health": ("health_alive", get("/health", {})),
        "first question": ("query_ask", ask(bearer(token), "What are the total sales by month?")),
        "second question": ("query_ask", ask(bearer(token), "What are the total sales by product?")),
    }
    found: dict[str, Any] = {}
    for name, (function, request) in requests.items():
        before, began = set(sys.modules), time.perf_counter()
        await gateway.expect(200, function, request)
        took = (time.perf_counter() - began) * 1000
        found[name] = {"ms": took, "modules": sorted(set(sys.modules) - before)}
        if len(found) == 1:
            await asyncio.sleep(given["pause"])
    return found
