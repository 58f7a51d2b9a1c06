"""Rules for traces; what breaks the standard is tried in `tests/test_function_app.py`."""

from hypothesis import given
from hypothesis import strategies as st

from lib.telemetry.traces import read_traceparent, traceparent

HEX = "0123456789abcdef"


def ids(digits: int) -> st.SearchStrategy[str]:
    """Ids of so many digits, but not of nothing but zeros."""
    return st.text(HEX, min_size=digits, max_size=digits).filter(lambda text: text.strip("0"))


@given(ids(32), ids(16))
def test_what_is_written_is_read(trace: str, span: str) -> None:
    """On another instance, or by whoever the reply goes to."""
    assert read_traceparent(traceparent(trace, span)) == (trace, span)


@given(st.text())
def test_any_other_text_is_no_trace(text: str) -> None:
    """It may come from anywhere."""
    assert read_traceparent(f"x{text}") == ("", "")
