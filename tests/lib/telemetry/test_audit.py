"""Rules for audit lines."""

import json
import logging
from typing import Any

import pytest

from lib.telemetry import metrics
from lib.telemetry.audit import Asked, tell_operation
from lib.telemetry.logs import JsonFormatter
from tests.lib.telemetry.heard import hearing

WHO = "0af7651916cd43dd8448eb211c80319c"


def told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The one line."""
    (record,) = caplog.records
    value: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return value


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lib.telemetry.audit")


def test_an_answered_question_is_told_with_where_the_answer_came_from(caplog: pytest.LogCaptureFixture) -> None:
    """The members are those that are counted on, and no others."""
    asked = Asked("person", who=WHO, agent="sales")
    asked.answered("kept", 12)
    with hearing() as heard:
        asked.tell(1234.56)
        assert heard.of(metrics.QUESTIONS) == [{"agent": "sales", "outcome": "answered", "code": "", "cached": "kept"}]
        assert heard.numbers[1][1] == pytest.approx(1.23456)
    assert told(caplog) == {
        "level": "info",
        "logger": "lib.telemetry.audit",
        "message": "a question was put",
        "event": "question",
        "version": 1,
        "who": WHO,
        "kind": "person",
        "agent": "sales",
        "outcome": "answered",
        "code": "",
        "cached": "kept",
        "age": 12,
        "ms": 1234.6,
        "operation": "",
    }


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "refused"), (429, "refused"), (499, "refused"), (500, "failed"), (503, "failed")]
)
def test_who_has_to_mend_it_decides_between_refused_and_failed(
    status: int, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A 4xx is the caller's or a limit's, a 5xx ours or upstream's."""
    asked = Asked("app")
    asked.ended_by("some_code", status)
    asked.tell(1)
    line = told(caplog)
    assert (line["outcome"], line["code"], line["who"], line["agent"]) == (outcome, "some_code", "", "")


def test_an_accepted_question_leads_to_its_operation(caplog: pytest.LogCaptureFixture) -> None:
    """Whose own line comes when it has ended."""
    asked = Asked("person", agent="sales")
    asked.accepted("0f" * 16)
    asked.tell(1)
    assert (told(caplog)["outcome"], told(caplog)["operation"]) == ("accepted", "0f" * 16)


def test_an_operation_is_told_when_it_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    """With how it has, and how long it was there."""
    tell_operation(
        who=WHO, agent="sales", outcome="failed", code="agent_failed", milliseconds=61_000.04, operation="0f" * 16
    )
    assert told(caplog) == {
        "level": "info",
        "logger": "lib.telemetry.audit",
        "message": "an operation has ended",
        "event": "operation",
        "version": 1,
        "who": WHO,
        "agent": "sales",
        "outcome": "failed",
        "code": "agent_failed",
        "ms": 61000.0,
        "operation": "0f" * 16,
    }
