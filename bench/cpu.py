"""CPU and time of one request, beside an empty function in the same process and the same rounds."""

import gc
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from bench.inside import Inside, ask, bearer, get, page, session_of
from bench.row import Row
from bench.stage import Stage, agents

PEOPLE = 20
ROUNDS = 15
EMPTY = "an empty function"
QUESTION = "What are the total sales by month?"
_CALLS = {EMPTY: 200, "health": 200, "rejected": 100, "cached, bearer": 100, "cached, session": 20, "uncached": 15}
_METHODS = {
    "health": "`GET /health`.",
    "rejected": "`POST /query` with a token of the right form and key whose signature is not genuine.",
    "cached, bearer": f"`POST /query` for an answer in memory, by {PEOPLE} people in turn, each with a token.",
    "cached, session": "The same by session cookie: the session's row is read each time.",
    "uncached": "`POST /query` with a question never asked before, to an agent that answers at once.",
}
_TARGETS = {"cached, bearer": "≤ 6 × CPU", "uncached": "≤ 12 ms CPU"}
_HOW = f"Median of {ROUNDS} rounds in turn with the others; beside: the empty function in the same rounds."


@dataclass(frozen=True)
class Case:
    """One kind of request: makes the next one, which has to have that status."""

    name: str
    function: str
    status: int
    make: Callable[[], Any]


def rows(stage: Stage) -> Iterator[Row]:
    """CPU, then time on the wall, for each kind of request."""
    with stage.people(PEOPLE) as people, stage.agent() as agent:
        given = [stage.token(person) for person in people]
        found = stage.inside("cpu", given, {"DATA_AGENTS": agents(agent, 0)})
    for what, unit in (("cpu", "ms CPU"), ("wall", "ms")):
        empty = found[EMPTY][what]
        for name, method in _METHODS.items():
            target = _TARGETS.get(name, "") if what == "cpu" else ""
            spread = f" Middle half of the rounds: {found[name][what + '_spread']}."
            yield Row(f"{name}: {unit} a request", found[name][what], unit, f"{method} {_HOW}{spread}", empty, target)


async def measure(gateway: Inside, tokens: list[str]) -> dict[str, Any]:
    """Milliseconds by kind of request: the median over the rounds, and the middle half of them."""
    cases = await _cases(gateway, tokens)
    for case in cases:
        await _run(gateway, case, 5)
    found: dict[str, list[tuple[float, float]]] = {case.name: [] for case in cases}
    for _ in range(ROUNDS):
        for case in cases:
            gc.collect()
            found[case.name].append(await _run(gateway, case, _CALLS[case.name]))
    return {name: _summary(rounds) for name, rounds in found.items()}


async def _cases(gateway: Inside, tokens: list[str]) -> list[Case]:
    turn = count()
    for token in tokens:
        await gateway.expect(200, "query_ask", ask(bearer(token), QUESTION))
    known = [ask(bearer(token), QUESTION) for token in tokens]
    paged = [ask(page(await session_of(gateway, token)), QUESTION) for token in tokens]
    forged = [
        ask(bearer(token[:-8] + token[-8:][::-1]) | {"client-ip": f"10.0.0.{n}"}, QUESTION)
        for n, token in enumerate(tokens)
    ]
    return [
        Case(EMPTY, "bench_empty", 200, lambda: known[next(turn) % len(known)]),
        Case("health", "health_alive", 200, lambda: get("/health", {})),
        Case("rejected", "query_ask", 401, lambda: forged[next(turn) % len(forged)]),
        Case("cached, bearer", "query_ask", 200, lambda: known[next(turn) % len(known)]),
        Case("cached, session", "query_ask", 200, lambda: paged[next(turn) % len(paged)]),
        Case(
            "uncached",
            "query_ask",
            200,
            lambda: ask(bearer(tokens[next(turn) % len(tokens)]), f"{QUESTION} {secrets.token_hex(8)}"),
        ),
    ]


async def _run(gateway: Inside, case: Case, calls: int) -> tuple[float, float]:
    """Milliseconds of CPU and on the wall for one request."""
    requests = [case.make() for _ in range(calls)]
    cpu, wall = time.process_time(), time.perf_counter()
    for request in requests:
        await gateway.expect(case.status, case.function, request)
    return (time.process_time() - cpu) * 1000 / calls, (time.perf_counter() - wall) * 1000 / calls


def _summary(rounds: list[tuple[float, float]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for what, values in zip(("cpu", "wall"), zip(*rounds, strict=True), strict=True):
        low, middle, high = statistics.quantiles(values, n=4)
        told |= {what: middle, f"{what}_spread": f"{low:.3g} to {high:.3g}"}
    return told
