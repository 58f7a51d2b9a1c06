"""Rules for logs."""

import json
import logging

from lib import telemetry
from lib.telemetry import JsonFormatter, configure_logging, describe

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    """A record as a logger would make it."""
    return logging.getLogger("lib.test").makeRecord("lib.test", logging.INFO, "f", 1, message, args, None, extra=extra)


def test_a_line_is_one_json_object_with_its_facts() -> None:
    """Facts given by `extra` are members, the trace id of the request is among them."""
    scope = telemetry.trace_id.set("0af7651916cd43dd8448eb211c80319c")
    line = JsonFormatter().format(record("served %s", "it", status=200, route="query"))
    telemetry.trace_id.reset(scope)
    assert json.loads(line) == {
        "level": "info",
        "logger": "lib.test",
        "message": "served it",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "status": 200,
        "route": "query",
    }


def test_a_line_stays_one_line_whatever_is_logged() -> None:
    """Nobody can forge a second line by a line break or a line separator."""
    line = JsonFormatter().format(record("a\r\nb\u2028c", value="d\ne"))
    assert len(line.splitlines()) == 1


def test_a_token_in_a_message_is_cut_out() -> None:
    """A net below the rule that nothing logs tokens: libraries write messages too."""
    assert TOKEN not in JsonFormatter().format(record(f"sent {TOKEN} away"))


def test_a_value_that_is_not_json_is_told_by_its_type() -> None:
    """An object's text might hold anything."""
    assert json.loads(JsonFormatter().format(record("x", value=object())))["value"] == "object"


def test_an_exception_is_told_by_type_and_place_alone() -> None:
    """The causes are followed; no text of theirs is told."""
    try:
        try:
            raise KeyError(TOKEN)
        except KeyError as cause:
            raise ValueError(TOKEN) from cause
    except ValueError as fault:
        told = describe(fault)
        line = JsonFormatter().format(
            logging.getLogger("lib.test").makeRecord(
                "lib.test", logging.ERROR, "f", 1, "failed", (), (type(fault), fault, fault.__traceback__)
            )
        )
    assert [text.partition(" at ")[0] for text in told] == ["builtins.ValueError", "builtins.KeyError"]
    assert TOKEN not in line
    assert json.loads(line)["exception"] == told


def test_a_suppressed_context_is_not_told() -> None:
    """`raise … from None` means that the first failure does not matter."""
    try:
        try:
            raise KeyError(TOKEN)
        except KeyError:
            raise ValueError(TOKEN) from None
    except ValueError as fault:
        assert len(describe(fault)) == 1


def test_the_hosts_handlers_get_the_json_form_and_chatty_libraries_are_hushed() -> None:
    """Libraries log addresses and headers below WARNING."""
    handler = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        configure_logging("DEBUG")
        assert isinstance(handler.formatter, JsonFormatter)
        assert logging.getLogger("lib").level == logging.DEBUG
        assert logging.getLogger("msal").level == logging.WARNING
        assert not logging.getLogger("azure.core").isEnabledFor(logging.INFO)
    finally:
        root.removeHandler(handler)
