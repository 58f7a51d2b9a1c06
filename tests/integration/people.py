"""People who exist for one test alone."""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from local.fabric import SALES_AGENT
from local.people import ALICE, BOB, PEOPLE, Person
from local.sales import MONTHS, Order, Sales
from local.stack import Stack


@contextmanager
def newcomers(stack: Stack, count: int) -> Iterator[list[Person]]:
    """So many people with whom the sales agent is shared; every second one sees alice's region, the others bob's."""
    people = [
        replace((ALICE, BOB)[number % 2], key=secrets.token_hex(4), object_id=str(uuid.uuid4()))
        for number in range(count)
    ]
    agent = stack.fabric.agents[SALES_AGENT.object_id]
    readers = agent.readers | {person.object_id for person in people}
    stack.fabric.agents[SALES_AGENT.object_id] = replace(agent, readers=readers)
    PEOPLE.update({person.key: person for person in people})
    try:
        yield people
    finally:
        stack.fabric.agents[SALES_AGENT.object_id] = agent
        for person in people:
            del PEOPLE[person.key]


@contextmanager
def people_of_regions(stack: Stack, count: int) -> Iterator[list[Person]]:
    """So many people, each with a region and with figures that nobody else has."""
    sales = stack.fabric.sales
    with newcomers(stack, count) as made:
        own = [replace(person, region=f"Region {number}") for number, person in enumerate(made, 1)]
        PEOPLE.update({person.key: person for person in own})
        stack.fabric.sales = Sales(
            Order(month, f"Region {number}", "Desk", 100 * number + place, 10_000 * number + place)
            for number in range(1, count + 1)
            for place, month in enumerate(MONTHS)
        )
        try:
            yield own
        finally:
            stack.fabric.sales = sales
