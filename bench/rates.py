"""Rates and added latency over HTTP, beside what else could stand before the same agent; and what each asks of it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, repeat
from random import Random

from bench.contenders import Contender, others
from bench.load import LONGEST_WAIT, Load, Target, drive
from bench.row import Row
from bench.running import DELAYS, SHARED, NotRun, Running, gateway, nothing
from bench.stage import Agent, Stage

CLIENTS = (1, 8, 32, 128)
SECONDS, WARM = 1.0, 8
QUESTION = "What are the total sales by month?"
MIX, SHORT_MIX, KINDS, MIX_CLIENTS, MIX_DELAY, SEED = 1000, 200, 100, 32, 50, 20261125
_MIXED = (
    f"{MIX:,} questions by {MIX_CLIENTS} clients, of {KINDS} kinds in the proportion 1/k (Zipf, seed {SEED}), "
    f"to an agent that thinks {MIX_DELAY} ms; of those that keep nothing the first {SHORT_MIX} of them."
)

_CPU = "Processor time of the process over the replies of agent 0 ms"


class _Taken:
    """What one takes of the machine: seconds to start, MiB of memory, ms of CPU for a reply."""

    def __init__(self, running: Running, cost: float) -> None:
        self.start, self.memory, self.cost = running.start_seconds, running.resident(), cost


type Questions = Callable[[], Iterator[str]]
type Loads = dict[int, list[Load]]


def begin() -> list[Contender]:
    """The contenders, whose environments are being installed while something else is measured."""
    return others()


def rows(stage: Stage, contenders: Iterable[Contender] | None = None) -> Iterator[Row]:
    """Each contender's rates and latencies by the agent's time, then the mixes and what each takes of the machine."""
    with nothing() as running:
        ceiling, _ = _loads(running, DELAYS[:1], _distinct)
    yield from _rates("empty function", ceiling, None, "On the local host: nothing on it can be faster")
    with stage.agent() as agent:
        with gateway(stage, agent, max(CLIENTS)) as running:
            ours, cost = _loads(running, DELAYS, _distinct)
            asyncio.run(drive(running.targets[0], repeat(QUESTION, max(CLIENTS)), max(CLIENTS), 0))
            kept, kept_cost = _loads(running, DELAYS[:1], partial(repeat, QUESTION))
            mixed = {"gateway, answers of each person's own": _mix(agent, running.targets[MIX_DELAY])}
            mixed["gateway, answers shared"] = _mix(agent, running.targets[SHARED])
            taken = {"gateway, questions never asked before": _Taken(running, cost)}
        yield from _rates("gateway, questions never asked before", ours, None, "On the local host, with Azurite beside")
        yield from _rates(
            "gateway, kept answers", kept, ceiling, "Each client is another person; beside: the empty function"
        )
        yield Row(
            "gateway, kept answers: CPU of its process",
            kept_cost,
            "ms a reply",
            f"{_CPU}; beside: questions never asked before.",
            cost,
        )
        for contender in others() if contenders is None else contenders:
            try:
                measured = _measured(contender, agent)
            except NotRun as reason:
                yield Row(f"{contender.name}: not run", 0, "", str(reason))
                continue
            mixed[contender.name], loads, taken[contender.name] = measured
            yield from _rates(
                contender.name, loads, ours, f"{contender.how}; beside: the gateway's, never asked before"
            )
            yield _against(contender, kept[0], loads[0])
    for name, calls in mixed.items():
        yield Row(f"questions that reach the agent: {name}", calls, "of 1,000", _MIXED, MIX)
    first = next(iter(taken.values()))
    for name, each in taken.items():
        yield Row(f"{name}: CPU of its process", each.cost, "ms a reply", f"{_CPU}; beside: the gateway's.", first.cost)
        yield Row(f"{name}: start", each.start, "s", "Until its port answers; beside: the gateway's.", first.start)
        yield Row(f"{name}: memory", each.memory, "MiB", "Resident after all of the above; likewise.", first.memory)


def _measured(contender: Contender, agent: Agent) -> "tuple[float, Loads, _Taken]":
    """How many of a thousand questions it asks the agent, its loads, and what it takes. Raises `NotRun`."""
    if problem := contender.installation.wait():
        raise NotRun(problem)
    with contender.run(agent) as running:
        for target in running.targets.values():  # some load much with their first question
            asyncio.run(drive(target, repeat(QUESTION, WARM), WARM, LONGEST_WAIT))
        loads, cost = _loads(running, DELAYS, _distinct)
        return _mix(agent, running.targets[MIX_DELAY], SHORT_MIX), loads, _Taken(running, cost)


_numbers = count()


def _distinct() -> Iterator[str]:
    return (f"{QUESTION} {number}" for number in _numbers)


def _loads(running: Running, delays: Iterable[int], questions: Questions) -> tuple[Loads, float]:
    """One load for each number of clients and time of the agent's; and ms of CPU for a reply of an agent at once."""
    loads, spent = {}, 0.0
    for delay in delays:
        began, seconds = running.processor_seconds(), max(SECONDS, 1.25 * delay / 1000)
        target = running.targets[delay]
        loads[delay] = [asyncio.run(drive(target, questions(), clients, seconds)) for clients in CLIENTS]
        if delay == 0:
            spent = running.processor_seconds() - began
    return loads, 1000 * spent / sum(load.replies for load in loads[0])


def _rates(name: str, loads: Loads, beside: Loads | None, how: str) -> Iterator[Row]:
    for delay, measured in loads.items():
        failures = sum(load.failures for load in measured)
        clients = f"{', '.join(map(str, CLIENTS[:-1]))} and {CLIENTS[-1]} clients, an agent that thinks {delay} ms"
        method = f"{clients}. {how}." + (f" {failures} failures." if failures else "")
        if not all(load.replies for load in measured):
            method += f" A dash: no reply within {LONGEST_WAIT} s."
        against = beside[delay] if beside else None
        yield Row(
            f"{name}: rate, agent {delay} ms",
            _rate(measured),
            "replies/s",
            method,
            _rate(against) if against else None,
        )
        yield Row(
            f"{name}: added latency, agent {delay} ms",
            _added(measured, delay),
            "ms",
            "The same: the median less the agent's time.",
            _added(against, delay) if against else None,
        )


def _against(contender: Contender, kept: list[Load], loads: list[Load]) -> Row:
    return Row(
        f"gateway's kept answers against {contender.name}: rate, agent 0 ms",
        _rate(kept),
        "replies/s",
        f"The rows above; beside: {contender.name}, which asks the agent each time.",
        _rate(loads),
        contender.target,
    )


def _rate(loads: list[Load]) -> tuple[float, ...]:
    return tuple(load.rate for load in loads)


def _added(loads: list[Load], delay: int) -> tuple[float, ...]:
    return tuple(load.median * 1000 - delay for load in loads)


def _mix(agent: Agent, target: Target, size: int = MIX) -> float:
    """How many questions reach the agent, of a thousand."""
    weights = [1 / kind for kind in range(1, KINDS + 1)]
    kinds = Random(SEED).choices(range(KINDS), weights, k=size)  # a mix, and no secret
    before = agent.calls()
    asyncio.run(drive(target, (f"{QUESTION} Kind {kind}" for kind in kinds), MIX_CLIENTS, 600))
    return (agent.calls() - before) * 1000 / size
