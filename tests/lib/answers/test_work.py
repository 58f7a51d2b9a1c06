"""Rules for work that is left to somebody else."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lib.answers.cache import AnswerKey
from lib.answers.wanted import Wanted
from lib.answers.work import Work, read_work

TEXT = st.text(max_size=40)
KEYS = st.builds(AnswerKey, TEXT, TEXT, TEXT)
WANTED = st.builds(
    Wanted,
    key=KEYS,
    payer=TEXT,
    owner=st.tuples(TEXT, TEXT),
    caller=TEXT,
    grant=TEXT,
    fresh_seconds=st.integers(0, 3600),
    anew=st.booleans(),
)
WORK = st.builds(Work, WANTED, text=TEXT, token=TEXT, conversation=TEXT, question=TEXT)


@given(WORK)
def test_work_is_read_as_it_was_written(work: Work) -> None:
    """Whatever it is about."""
    assert read_work(work.written()) == work


@given(WORK)
def test_what_a_later_release_adds_is_passed_over(work: Work) -> None:
    """Old and new code run together during an update."""
    value = json.loads(work.written())
    for each in (value, value["wanted"], value["wanted"]["key"]):
        each["later"] = {"x": 1}
    assert read_work(json.dumps(value).encode()) == work


@given(WORK)
def test_who_only_looks_needs_neither_the_text_nor_a_token(work: Work) -> None:
    """They brought one of their own; what the answer is noted with stays."""
    looking = work.for_looking()
    assert (looking.text, looking.token) == ("", "")
    assert (looking.wanted, looking.conversation, looking.question) == (work.wanted, work.conversation, work.question)


def test_neither_question_nor_token_shows_in_a_repr() -> None:
    """It may get into a traceback."""
    wanted = Wanted(AnswerKey("p", "sales", "q"), "p", ("tenant", "secret"), "p", "secret", 300)
    assert "secret" not in repr(Work(wanted, "secret", "secret", "c", "secret"))
