"""Answers: what a client gets of them, and the failures that come dressed as answers."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents import mcp
from lib.agents.answer import MAX_BLOCKS_LENGTH, Answer, parse_result
from lib.agents.failures import CapacityPaused
from lib.agents.markdown import MAX_LENGTH, Query, Table
from lib.agents.mcp import Block, ToolResult
from lib.errors import AgentFailed, AgentNotPublished, CapacityExceeded, UpstreamError
from tests.lib.agents.recorded import read, sample


def said(*texts: str, is_error: bool = False) -> ToolResult:
    """What the tool returns: these texts."""
    return ToolResult(tuple(Block("text", text) for text in texts), is_error)


def recorded(name: str) -> ToolResult:
    """What the tool returned when it was recorded."""
    return mcp.result_from(read(sample(name)))


@pytest.mark.parametrize("name", ["tools-call.json", "tools-call.sse", "tools-call.chatter"])
def test_a_recorded_answer(name: str) -> None:
    """Words, table and query of an answer come apart."""
    answer = parse_result(recorded(name))
    assert answer.tables == (
        Table(("product", "total_sales"), (("Desk", "66080"), ("Armchair", "45780"), ("Bookcase", "33790"))),
    )
    assert answer.queries == (
        Query(
            "sql",
            "SELECT product, SUM(amount) AS total_sales\nFROM sales\n"
            "GROUP BY product\nORDER BY total_sales DESC, product\nLIMIT 3",
        ),
    )
    assert answer.text.startswith("The table shows the total sales by product (top 3)")
    assert "Desk\t66080" in answer.text
    assert "| Desk | 66080 |" in answer.markdown
    assert not answer.is_clarifying


@pytest.mark.parametrize("name", ["tools-call.run-failed", "tools-call.source-failed"])
def test_a_recorded_failure_in_the_form_of_an_answer(name: str) -> None:
    """A run that died and a source that failed come as success, and are none."""
    with pytest.raises(AgentFailed):
        parse_result(recorded(name))


def test_a_recorded_question_back() -> None:
    """An agent that asks back has answered, and the answer says what it is."""
    assert parse_result(recorded("tools-call.unclear")).is_clarifying


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (said("The Data Agent run failed before producing a result."), AgentFailed),
        (said(" the data agent run failed before producing a result\n"), AgentFailed),
        (said('{"error": "No. RAID: 7e1b3c5d"}'), AgentFailed),
        (said('```json\n{"error": "No."}\n```'), AgentFailed),
        (said('```\n{"error": {"code": 1}, "more": 2}\n```'), AgentFailed),
        (said('{"error": "CapacityNotActive: Capacity 7d1e is not active"}'), CapacityPaused),
        (said("", '{"error": "x"}', " "), AgentFailed),
        (said("Something broke", is_error=True), AgentFailed),
        (said(is_error=True), AgentFailed),
        (said("Stage configuration not found.", is_error=True), AgentNotPublished),
        (said("CapacityLimitExceeded", is_error=True), CapacityExceeded),
        (said(), AgentFailed),
        (said("", " \n"), AgentFailed),
        (said("\u202e\u200b"), AgentFailed),
        (ToolResult((Block("other", ""),)), AgentFailed),
    ],
)
def test_a_failure_in_the_form_of_an_answer_is_a_failure(result: ToolResult, expected: type[UpstreamError]) -> None:
    """Flagged or not, an error instead of an answer, or nothing at all, is never shown as one."""
    with pytest.raises(expected) as failed:
        parse_result(result)
    assert type(failed.value) is expected
    assert "RAID" not in f"{failed.value!r} {failed.value.detail}"


@pytest.mark.parametrize(
    "text",
    [
        'The log says {"error": "x"}.',
        '{"error": ""}',
        '{"error": null, "rows": 3}',
        '{"rows": 3}',
        '["error"]',
        '```sql\n{"error": "x"}\n```',
        f'{{"error": "{"x" * MAX_LENGTH}"}}',
        f'[{{"error": "x"}}{" " * MAX_LENGTH}, {"[], " * MAX_LENGTH}1]',
        f"```json\n{'[], ' * MAX_LENGTH}\n```",
        "Many told us: The Data Agent run failed before producing a result.",
    ],
)
def test_an_answer_may_speak_of_errors(text: str) -> None:
    """Only an answer that is nothing but an error is a failure."""
    assert parse_result(said(text)).text


@pytest.mark.parametrize(
    ("text", "clarifying"),
    [
        ("Which region do you mean?", True),
        ("Which one do you mean?\n\n- North\n- South", True),
        ("Sales were 42. Shall I break them down?", True),
        ("どの地域ですか\uff1f", True),
        ("أي منطقة\u061f", True),
        ("Sales were 42.", False),
        ("Why? Because.", False),
        ("Which?\n\n| a |\n|---|\n| 1 |", False),
        ("Which?\n\n```sql\nSELECT 1\n```", False),
        ("**Which region?**", True),
    ],
)
def test_a_question_back_is_told_from_an_answer(text: str, clarifying: bool) -> None:
    """A first or last line that asks, and nothing but words, is a question back."""
    assert parse_result(said(text)).is_clarifying is clarifying


def test_a_question_beside_a_block_is_none() -> None:
    """An answer that brings something with it has answered."""
    result = ToolResult((Block("text", "Shall I go on?"), Block("image", "aGk=", "image/png")))
    assert not parse_result(result).is_clarifying


def test_blocks_without_words_are_an_answer() -> None:
    """A chart alone is an answer, and asks nothing."""
    chart = Block("image", "aGk=", "image/png")
    answer = parse_result(ToolResult((chart,)))
    assert answer == Answer("", "", blocks=(chart,))
    assert not answer.is_clarifying


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (Block("image", "aGk=", "image/png"), "aGk="),
        (Block("image", "aGk=", "image/svg+xml"), ""),
        (Block("image", "<svg>", "image/png"), ""),
        (Block("image", "aGk=", ""), ""),
        (Block("audio", "aGk=", "audio/wav"), ""),
        (Block("resource", "a,b\n=1", "text/csv", "Rows"), "a,b\n=1"),
        (Block("resource", "{}", "application/json"), "{}"),
        (Block("resource", "<b>", "text/html"), ""),
        (Block("other", "x", "text/csv"), ""),
    ],
)
def test_only_harmless_blocks_keep_their_content(block: Block, content: str) -> None:
    """Pictures that cannot run and plain data pass; of anything else a client learns that it was there."""
    (passed,) = parse_result(ToolResult((Block("text", "See:"), block))).blocks
    assert (passed.kind, passed.content, passed.media_type) == (block.kind, content, block.media_type)


def test_blocks_are_bounded_together() -> None:
    """What would be too much is left out, and what still fits is kept; titles are short."""
    half = Block("resource", "x" * (MAX_BLOCKS_LENGTH // 2 + 1), "text/csv", "t" * 999)
    small = Block("resource", "y", "text/csv")
    blocks = parse_result(ToolResult((half, half, small))).blocks
    assert [len(block.content) for block in blocks] == [len(half.content), 0, 1]
    assert len(blocks[0].title) == 200


def test_blocks_hold_nothing_that_nobody_sees() -> None:
    """Titles are words on one line; contents keep their lines and columns."""
    title = "\u202eRo\x1b[31mws\u2028of\u200b\n\U000e00412026\U0001ffff "
    hidden = Block("resource", "a\tb\r\n\u202e1\x00\U000e0041,2\u200e", "text/csv", title)
    (block,) = parse_result(ToolResult((hidden,))).blocks
    assert (block.title, block.content) == ("Ro[31mws of 2026", "a\tb\r\n1,2")


def test_texts_do_not_run_into_each_other() -> None:
    """Two blocks of text are two paragraphs: the second is no row of the first one's table."""
    answer = parse_result(said("| a |\n|---|\n| 1 |", "Done."))
    assert answer.tables == (Table(("a",), (("1",),)),)
    assert answer.markdown.endswith("\n\nDone.")


def test_links_stay_links_only_where_they_may() -> None:
    """Without allowed hosts there is no link at all."""
    result = said("[a](https://good.example/x)")
    assert parse_result(result).markdown == "a (`https://good.example/x`)"
    assert parse_result(result, frozenset({"good.example"})).markdown == "[a](https://good.example/x)"


def test_an_answer_is_plain_values() -> None:
    """The reply's body is made of it field by field, and nothing of it shows in a repr."""
    answer = parse_result(recorded("tools-call.json"))
    assert list(json.loads(json.dumps(asdict(answer)))) == ["markdown", "text", "tables", "queries", "blocks"]
    assert repr(answer) == "Answer()"


BLOCKS = st.builds(
    Block,
    st.sampled_from(["text", "image", "resource", "other"]),
    st.text(),
    st.sampled_from(["", "text/csv"]),
    st.text(),
)


@given(blocks=st.lists(BLOCKS), is_error=st.booleans())
def test_any_result_is_an_answer_or_a_failure(blocks: list[Block], is_error: bool) -> None:
    """Whatever a tool says, reading it raises nothing but a failure of the agent."""
    try:
        answer = parse_result(ToolResult(tuple(blocks), is_error))
    except UpstreamError:
        return
    assert isinstance(answer.is_clarifying, bool)
