"""Rules for logs."""

import ast
import asyncio
import gc
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.telemetry import logs, traces
from lib.telemetry.logs import LONGEST_TEXT, MOST_ITEMS, JsonFormatter, configure_logging, describe

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


def record(message: object, *args: object, by: str = "lib.test", **extra: Any) -> logging.LogRecord:
    """A record as a logger would make it."""
    return logging.getLogger(by).makeRecord(by, logging.INFO, "f", 1, message, args, None, extra=extra)


def written(message: object, *args: object, **extra: Any) -> dict[str, Any]:
    """The line of such a record, read again; that it is one line in ASCII is checked on the way."""
    line = JsonFormatter().format(record(message, *args, **extra))
    assert line.isascii()
    assert len(line.splitlines()) == 1
    value: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    return value


def test_a_line_is_one_json_object_with_its_facts() -> None:
    """Facts given by `extra` are members, the trace id of the request is among them."""
    scope = traces.trace_id.set("0af7651916cd43dd8448eb211c80319c")
    line = JsonFormatter().format(record("served %s", "it", status=200, route="query"))
    traces.trace_id.reset(scope)
    assert json.loads(line) == {
        "level": "info",
        "logger": "lib.test",
        "message": "served it",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "status": 200,
        "route": "query",
    }


@pytest.mark.parametrize(
    "end",
    ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\x1b[2J", "\x9b2J"],
    ids=ascii,
)
def test_a_line_stays_one_line_whatever_is_logged(end: str) -> None:
    """Nobody can forge a second line, or speak to a terminal: neither in a text nor in a fact or its name."""
    told = written(f"a{end}b %s", f"c{end}d", value=f"e{end}f", values=[end], **{f"g{end}h": 1})
    assert (told["message"], told["value"], told["values"]) == (f"a{end}b c{end}d", f"e{end}f", [end])
    assert told[f"g{end}h"] == 1


def test_a_lone_surrogate_is_a_question_mark() -> None:
    """Half a character is text that strict readers of JSON refuse, and the whole line with it."""
    told = written("a\ud800b", value="\udfff", **{"c\ud800": 1})
    assert (told["message"], told["value"], told["c?"]) == ("a?b", "?", 1)


def test_what_is_too_long_is_cut() -> None:
    """A text is cut, a list is cut, and a number past all bounds is told by its type."""
    told = written("x" * 1_000_000, text="y" * 1_000_000, items=["z" * 5_000] * 1_000, number=10**5_000, real=1e300)
    assert (len(told["message"]), len(told["text"])) == (LONGEST_TEXT, LONGEST_TEXT)
    assert [len(item) for item in told["items"]] == [LONGEST_TEXT] * MOST_ITEMS
    assert (told["number"], told["real"]) == ("int", "float")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        (-7, -7),
        (1.5, 1.5),
        (("a", 1), ["a", 1]),
        (float("nan"), "float"),
        (float("-inf"), "float"),
        (b"bytes", "bytes"),
        ({"a": 1}, "dict"),
        ([["a"]], ["list"]),
        (object(), "object"),
        (ValueError(TOKEN), "ValueError"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_fact_is_a_text_a_number_or_a_list_of_them(value: object, told: object) -> None:
    """Anything else is told by its type: an object's text might hold anything."""
    assert written("x", value=value)["value"] == told


def test_a_value_that_holds_itself_is_told() -> None:
    """There is no end to follow it to."""
    endless: list[object] = ["a"]
    endless.append(endless)
    assert written("x", value=endless)["value"] == ["a", "list"]


def test_a_fact_may_have_any_name() -> None:
    """A name that is no text becomes one, and a name of ours stays ours."""
    made = record("served", status=200, level="forged", logger="forged", exception="forged")
    names: dict[Any, str] = {1: "a", (2, 3): "b"}
    made.__dict__.update(names)
    told = json.loads(JsonFormatter().format(made))
    assert (told["1"], told["tuple"], told["status"]) == ("a", "b", 200)
    assert (told["level"], told["logger"]) == ("info", "lib.test")


@pytest.mark.parametrize(
    ("message", "args"),
    [("%d items", ("x",)), ("%s", ()), ("%s and %s", ("x",)), ("%(name)s", ({"x": 1},)), ("%", (1,))],
)
def test_arguments_that_do_not_fit_are_left_out(message: str, args: tuple[object, ...]) -> None:
    """A record that cannot be put together is told without them; logging itself would print them, as they are."""
    assert written(message, *args)["message"] == message


class Unspeakable:
    """An object that fails to tell itself."""

    def __str__(self) -> str:
        raise RuntimeError(TOKEN)

    __repr__ = __str__


def test_an_argument_that_fails_to_tell_itself_is_left_out() -> None:
    """Its failure is not ours, nor is its text."""
    assert written("a %s", Unspeakable())["message"] == "a %s"
    assert written("a %s", "b", value=Unspeakable())["value"] == "Unspeakable"


@pytest.mark.parametrize("message", [ValueError(TOKEN), Unspeakable(), {"code": "x"}, b"x", None])
def test_a_message_that_is_no_text_is_told_by_its_type(message: object) -> None:
    """Libraries log their exceptions so, and those quote what they like."""
    assert written(message)["message"] == type(message).__name__


SECRET = "Zx.9_-~!*'()Qw"


@pytest.mark.parametrize(
    "text",
    [
        f"sent {TOKEN} away",
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'bearer {SECRET}'}}",
        f"GET https://x.example/api/login/callback?code={SECRET}&state={SECRET}",
        f"https://x.example/?a=1&sid={SECRET}#top",
        f"https://x.table.core.windows.net/t?sv=2024&sig={SECRET}",
        f"grant_type=refresh_token&refresh_token={SECRET}",
        f"CODE={SECRET}",
        f"client_assertion={SECRET}&client_secret={SECRET}",
        f"to https%3A%2F%2Fx.example%3Fcode%3D{SECRET}%26state%3D{SECRET}",
        f"b'code={SECRET}'",
        f"{{'code': '{SECRET}', 'state': '{SECRET}'}}",
        json.dumps({"access_token": SECRET, "expires_in": 3600}),
        json.dumps(json.dumps({"refresh_token": SECRET})),
        f"Cookie: __Host-session={SECRET}; __Host-flow-0a1b2c3d={SECRET}",
        f"AccountName=x;AccountKey={SECRET};",
        f"Authorization: Basic {SECRET}",
        f"proxy-authorization={SECRET}",
        f"{{'Authorization': b'Bearer {SECRET}'}}",
        f"Cookie: ARRAffinity={SECRET}; x={SECRET}",
        f"password: {SECRET}",
        f'{{"password": "two words {SECRET}"}}',
        f"access_token = {SECRET}",
        f"refresh_token: {SECRET}",
        f"refresh_token:{SECRET}",
        f"secretKey={SECRET} api-key: {SECRET} AccountKey : {SECRET}",
        f"code: {SECRET}{SECRET}",
        f"sid = {SECRET}{SECRET}",
        f"id_token_hint={SECRET}",
        f"token%3A{SECRET}",
        f"the code 0.AXYAx-{'y' * 20}{SECRET} was used",
    ],
)
def test_a_credential_in_any_text_is_cut_out(text: str) -> None:
    """A net below the rule that nothing logs any: libraries write messages too."""
    assert written(text)["message"] != text
    for told in (written(text), written("%s", text), written("x", value=text), written("x", value=[text])):
        assert not [secret for secret in (TOKEN, SECRET) if secret in json.dumps(told)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("basic c2VjcmV0OnNlY3JldA== and more", "[removed] and more"),
        ("bearer abc, and more", "[removed], and more"),
        ("{'password': 'two words'} and more", "{'[removed] and more"),
        ('{"password": "two \\" words", "a": 1}', '{"[removed]", "a": 1}'),
        ("Authorization: Digest a b c\nnext", "[removed]\nnext"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc/+=\nxyz\n-----END", "-----BEGIN [removed]-----END"),
    ],
)
def test_a_credential_is_cut_out_whole_and_alone(text: str, told: str) -> None:
    """A quoted one with its blanks, a header to the end of its line, a key to its last line."""
    assert written(text)["message"] == told


NAMES = st.sampled_from(["code", "state", "sid", "sig", "refresh_token", "id_token_hint", "nonce", "client_assertion"])
VALUES = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters='&"'), min_size=12)


@given(st.text(), st.sampled_from("?& ;('"), NAMES, VALUES, st.text())
@example("x" * (LONGEST_TEXT - 8), "?", "code", "0123456789abcdef", "")
def test_no_parameter_of_an_address_gets_out(before: str, mark: str, name: str, value: str, behind: str) -> None:
    """Wherever in a text it stands, and wherever the text is cut."""
    told = written(f"{before}{mark}{name}={value}&{behind}")["message"]
    assert value not in told or value in before or value in behind
    assert "0123" not in told or "0123" in before or "0123" in behind


@pytest.mark.parametrize("credential", [TOKEN, f"Bearer {SECRET}", f"code={SECRET}"])
@pytest.mark.parametrize("seen", [1, 4, 10, 15])
def test_a_credential_is_cut_out_where_the_text_is_cut_in_it(credential: str, seen: int) -> None:
    """Its beginning alone would not look like one."""
    told = written("x" * (LONGEST_TEXT - seen - 1) + " " + credential)["message"]
    assert "[removed]".startswith(told.lstrip("x").strip())


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a request failed",
            "status code 500",
            "the token has expired",
            "status_code=500",
            "bearer",
            "state: open",
            "a=b",
        ),
        *(
            "status code: 404",
            "exit code = 1",
            "a bearer token",
            "basic authentication",
            "hint: try again",
            "tokens: 5",
        ),
        *("version 1.A", "nonce: none", "0 of 3 keys", "the key: x"),
    ],
)
def test_usual_words_stay(text: str) -> None:
    """What is cut out is a value that is named as a credential, no word about one."""
    assert written(text)["message"] == text


def own_texts() -> Iterator[str]:
    """What our own code logs, as it stands in the source."""
    for path in Path(logs.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log."):
                yield from (one.value for one in node.args if isinstance(one, ast.Constant) and type(one.value) is str)


@given(st.from_regex(logs._HARMLESS, fullmatch=True))
@example("eyJabcdefghijklmno")
@example("abearer token")
def test_what_the_net_is_not_asked_about_would_pass_it(text: str) -> None:
    """It is too short for a token, too plain for an assignment, and says nothing of what a bearer brings."""
    assert logs._CREDENTIAL.sub("", text) == text


def test_our_own_words_pass_the_net() -> None:
    """Whoever reads a log finds the line in the source."""
    texts = list(own_texts())
    assert len(texts) > 20
    assert [text for text in texts if written(text)["message"] != text] == []


@pytest.mark.parametrize(
    ("message", "args", "told"),
    [
        (
            "Task exception was never retrieved\nfuture: <Task exception=E('secret')>",
            (),
            "Task exception was never retrieved",
        ),
        ("Executing <Task name='secret'> took 0.150 seconds", (), "Executing"),
        ("Fatal error on transport: secret", (), "Fatal error on transport"),
        ("got {'q': 'secret'}", (), "got"),
        ("q=secret", (), "q"),
        (
            "Retrying (%r) after connection broken by '%r': %s",
            (3, KeyError("secret"), "/secret"),
            "Retrying (3) after connection broken by ''KeyError'': str",
        ),
        ("%s of %d in %.1f s", ("secret", 3, 0.25), "str of 3 in 0.2 s"),
        ("%(name)s %(count)d", ({"name": "secret", "count": 2},), "str 2"),
        ("%s", (["secret"],), "list"),
        ("%d", ("secret",), "%d"),
        ("%s", (), "%s"),
        ("", (), ""),
    ],
)
@pytest.mark.parametrize("logger", ["asyncio", "azure.core", "library", "msal", "root"])
def test_of_a_library_only_the_words_of_its_code_are_told(
    logger: str, message: str, args: tuple[object, ...], told: str
) -> None:
    """What it quotes may be a question, an answer or a token: arguments are told by type, numbers stay."""
    line = written(message, *args, by=logger, text="secret", items=["secret"], count=7)
    assert line["message"] == told
    assert (line["text"], line["items"], line["count"]) == ("str", "list", 7)
    assert "secret" not in json.dumps(line)


async def test_a_task_that_nobody_waits_for_tells_no_text() -> None:
    """Asyncio puts the exception's own words into its message; type and place are what is told of it."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    async def fail() -> None:
        raise ValueError("a secret question")

    handler = Keep()
    handler.setFormatter(JsonFormatter())
    logging.getLogger("asyncio").addHandler(handler)
    try:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        del task
        gc.collect()
    finally:
        logging.getLogger("asyncio").removeHandler(handler)
    (line,) = lines
    assert "question" not in line
    told = json.loads(line)
    assert (told["message"], told["logger"]) == ("Task exception was never retrieved", "asyncio")
    assert told["exception"][0].startswith("builtins.ValueError at fail:")


@pytest.mark.parametrize("logger", ["library.sub", "lib", "libel"])
def test_ours_is_what_lies_in_lib(logger: str) -> None:
    """A name that only begins so is somebody else's."""
    told = written("a %s", "b", by=logger)["message"]
    assert told == ("a b" if logger == "lib" else "a str")


@given(
    st.text(),
    st.lists(st.text() | st.integers() | st.floats() | st.binary()),
    st.dictionaries(st.text(), st.none()),
    st.sampled_from(["lib.test", "library"]),
)
def test_any_record_is_one_line_of_json(message: str, args: list[object], extra: dict[str, None], logger: str) -> None:
    """Whatever is in it; and formatting never fails."""
    named: dict[str, Any] = {f"x{name}": value for name, value in extra.items()}
    assert isinstance(written(message, *args, by=logger, **named)["message"], str)


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


def test_an_exception_that_is_its_own_cause_is_told_a_few_times() -> None:
    """Such a chain has no end."""
    fault = ValueError("x")
    fault.__cause__ = fault
    assert len(describe(fault)) == MOST_ITEMS


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
