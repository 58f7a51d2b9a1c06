"""Rules for readiness."""

import asyncio

from lib.readiness import AGENT_SECONDS, REPORT_SECONDS, Readiness
from tests.clock import Clock


class Peer:
    """A peer that counts its pings; each raises `fault`, where there is one."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.pings = 0

    async def __call__(self) -> None:
        self.pings += 1
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault


async def test_all_is_well_where_every_peer_answers() -> None:
    """Ready, in one word and in detail."""
    report = await Readiness({"storage": Peer()}, {"sales": Peer()}).report()
    assert (report.status, report.ready) == ("ready", True)
    assert (report.checks, report.agents) == ({"storage": True}, {"sales": True})


async def test_a_peer_that_must_be_there_decides() -> None:
    """Without storage nobody can be served."""
    report = await Readiness({"storage": Peer(OSError()), "vault": Peer()}, {"sales": Peer()}).report()
    assert (report.status, report.ready) == ("unavailable", False)
    assert report.checks == {"storage": False, "vault": True}


async def test_an_agent_that_is_away_only_degrades() -> None:
    """Other agents, sessions and logins still work."""
    report = await Readiness({"storage": Peer()}, {"sales": Peer(OSError())}).report()
    assert (report.status, report.ready) == ("degraded", True)


async def test_a_peer_that_hangs_is_a_peer_that_fails() -> None:
    """A probe has to be answered in time."""

    async def hang() -> None:
        await asyncio.Event().wait()

    report = await Readiness({"storage": hang}, {}, ping_seconds=0.01).report()
    assert report.checks == {"storage": False}


async def test_a_report_is_shared_and_kept_for_a_while() -> None:
    """An unauthenticated route must not be an amplifier: many callers, one ping, and none within the time."""
    clock, storage, agent = Clock(0), Peer(), Peer()
    readiness = Readiness({"storage": storage}, {"sales": agent}, clock)
    await asyncio.gather(*(readiness.report() for _ in range(50)))
    assert (storage.pings, agent.pings) == (1, 1)
    clock.now = REPORT_SECONDS - 1
    await readiness.report()
    assert (storage.pings, agent.pings) == (1, 1)
    clock.now = REPORT_SECONDS
    await readiness.report()
    assert (storage.pings, agent.pings) == (2, 1)
    clock.now = AGENT_SECONDS
    await readiness.report()
    assert (storage.pings, agent.pings) == (3, 2)
