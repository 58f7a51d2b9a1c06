"""Queue messages as a function gets them: what the host tells beside the text, and what it loses."""

import base64
import json
from datetime import UTC, datetime

import pytest
from azure.storage.queue import QueueMessage
from hypothesis import given
from hypothesis import strategies as st

from local.messages import by_hand, received

BORN = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
END = datetime(2026, 11, 24, 9, 32, tzinfo=UTC)
SEEN = datetime(2026, 11, 24, 9, 41, tzinfo=UTC)


def message(content: str) -> QueueMessage:
    """A message as the SDK reads it."""
    facts = {"id": "the-id", "dequeue_count": 2, "pop_receipt": "the-receipt"}
    return QueueMessage(content, inserted_on=BORN, expires_on=END, next_visible_on=SEEN, **facts)


def encoded(text: str) -> str:
    """A text as it goes on the wire."""
    return base64.b64encode(text.encode()).decode()


def test_a_message_comes_with_what_the_queue_knows_of_it() -> None:
    """Names and forms are the host's."""
    handed = received(message(encoded("Grüße")))
    assert handed
    assert handed.text == "Grüße"
    assert handed.facts == {
        "QueueTrigger": "Grüße",
        "DequeueCount": 2,
        "ExpirationTime": "2026-11-24T09:32:00+00:00",
        "Id": "the-id",
        "InsertionTime": "2026-11-24T09:30:00+00:00",
        "NextVisibleTime": "2026-11-24T09:41:00+00:00",
        "PopReceipt": "the-receipt",
    }


def test_a_message_by_hand_was_in_no_queue() -> None:
    """It has no id, was never taken, and never ends."""
    handed = by_hand("text", BORN)
    assert handed.text == "text"
    assert handed.facts == {
        "QueueTrigger": "text",
        "DequeueCount": 0,
        "ExpirationTime": "9999-12-31T23:59:59.9999999+00:00",
        "InsertionTime": "2026-11-24T09:30:00+00:00",
        "NextVisibleTime": "9999-12-31T23:59:59.9999999+00:00",
    }


@pytest.mark.parametrize(
    ("members", "overwritten"),
    [
        pytest.param({"id": "mine"}, {"Id": "mine"}, id="other-case"),
        pytest.param({"ID": 7, "dequeuecount": "many"}, {"Id": "7", "DequeueCount": "many"}, id="as-texts"),
        pytest.param({"Id": True}, {"Id": "True"}, id="as-dotnet-writes-it"),
        pytest.param({"popReceipt": {"a": 1}}, {"PopReceipt": {"a": 1}}, id="objects-stay"),
        pytest.param({"id": None, "Id": ["a"]}, {}, id="not-null-and-lists"),
        pytest.param({"partition": "p"}, {}, id="other-names"),
    ],
)
def test_members_of_a_json_message_overwrite_facts(members: dict[str, object], overwritten: dict[str, object]) -> None:
    """As in the cloud: a function must not rely on a fact whose name its messages use."""
    text = json.dumps(members)
    handed, plain = received(message(encoded(text))), received(message(encoded("plain")))
    assert handed
    assert plain
    assert handed.facts == {**plain.facts, "QueueTrigger": text, **overwritten}


@pytest.mark.parametrize("text", ["[1]", "1", '"id"', '{"id": ', ""])
def test_other_texts_overwrite_nothing(text: str) -> None:
    """They are no objects, or no JSON at all."""
    handed = received(message(encoded(text)))
    assert handed
    assert handed.facts["Id"] == "the-id"


@pytest.mark.parametrize("content", ["not base64!", "YQ", "/w==", "{}"])
def test_what_is_not_base64_of_a_text_is_no_message(content: str) -> None:
    """The host does not hand it to any function."""
    assert received(message(content)) is None


@given(st.text())
def test_any_text_arrives(text: str) -> None:
    """Whatever it means to others."""
    for handed in (received(message(encoded(text))), by_hand(text, BORN)):
        assert handed
        assert handed.text == text
