"""Queue messages as the host hands them to a function: a text, and facts beside it, which it calls trigger metadata.

The facts are those of `QueueTriggerBinding` in Azure's extension for Storage queues (azure-sdk-for-net). The host loses
some, and so does this one: a member of a JSON message takes the place of the fact of its name, whatever the case of
either (`Utility.ApplyBindingData` in azure-functions-host, azure-functions-python-worker issue 1373).
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.queue import QueueMessage

_NEVER = "9999-12-31T23:59:59.9999999+00:00"
"""The last moment that .NET knows."""
_NAMES = ("QueueTrigger", "DequeueCount", "ExpirationTime", "Id", "InsertionTime", "NextVisibleTime", "PopReceipt")
_FACTS = {name.lower(): name for name in _NAMES}


@dataclass(frozen=True)
class Message:
    """A message as a function gets it; a fact is a text or a value of JSON."""

    text: str = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)


def received(message: "QueueMessage") -> Message | None:
    """A message that was taken from a queue; None where its text is not base64 of a text."""
    try:
        text = base64.b64decode(message.content or "", validate=True).decode()
    except ValueError:
        return None
    facts = {
        "QueueTrigger": text,
        "DequeueCount": message.dequeue_count,
        "ExpirationTime": _moment(message.expires_on),
        "Id": message.id,
        "InsertionTime": _moment(message.inserted_on),
        "NextVisibleTime": _moment(message.next_visible_on),
        "PopReceipt": message.pop_receipt,
    }
    return Message(text, _overwritten(facts, text))


def by_hand(text: str, now: datetime) -> Message:
    """A message that no queue has seen."""
    facts = {
        "QueueTrigger": text,
        "DequeueCount": 0,
        "ExpirationTime": _NEVER,
        "InsertionTime": _moment(now),
        "NextVisibleTime": _NEVER,
    }
    return Message(text, _overwritten(facts, text))


def _moment(moment: datetime | None) -> str:
    return moment.isoformat() if moment else _NEVER


def _overwritten(facts: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    try:
        members = json.loads(text)
    except ValueError:
        return facts
    if not isinstance(members, dict):
        return facts
    taken = {}
    for name, value in members.items():
        fact = _FACTS.get(name.lower())
        if fact and not isinstance(value, list | None):
            taken[fact] = value if isinstance(value, dict) else str(value)
    return {**facts, **taken}
