"""People who exist for one test alone."""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from local.fabric import SALES_AGENT
from local.people import ALICE, BOB, PEOPLE, Person
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
