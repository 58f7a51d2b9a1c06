"""Conversations as one question: what was said is quoted, so that it stays what was said."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lib.agents.question import Turn
from lib.agents.transcript import compose


def test_a_question_without_history_is_itself() -> None:
    """Nothing is wrapped around a first question."""
    assert compose("How much?", ()) == "How much?"


def test_the_turns_go_before_the_question() -> None:
    """The transcript is the one that data agents are known to understand."""
    history = (Turn("user", "Sales in 2026?"), Turn("assistant", 'They were "fine":\n| a |'))
    assert compose("And in Ôsaka?", history) == (
        "Prior conversation transcript (context only; not the new question):\n"
        '1. user: "Sales in 2026?"\n'
        '2. assistant: "They were \\"fine\\":\\n| a |"\n'
        "End of prior conversation transcript.\n"
        "\n"
        "New question:\n"
        "And in Ôsaka?"
    )


def test_other_languages_stay_readable() -> None:
    """A turn is not turned into escapes, which would cost tokens and meaning."""
    assert '1. user: "売上は\u200d?"' in compose("x", [Turn("user", "売上は\u200d?")])


@given(
    st.lists(st.text(alphabet=st.sampled_from('\n\r\u2028\u2029\x85\x0b\x0c\x1e"\\NewEnd: 1.')), min_size=1, max_size=4)
)
def test_no_turn_can_leave_its_line(contents: list[str]) -> None:
    """However a turn is written, each stays one line of JSON, between the frame's first and last line."""
    composed = compose("Q", [Turn("user", content) for content in contents])
    lines = composed.splitlines()
    assert len(lines) == len(contents) + 5
    assert [json.loads(line.partition(": ")[2]) for line in lines[1:-4]] == contents
    assert lines[-4:] == ["End of prior conversation transcript.", "", "New question:", "Q"]
