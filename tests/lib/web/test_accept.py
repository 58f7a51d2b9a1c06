"""Rules for what a caller takes."""

import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.errors import NotAcceptable
from lib.web.accept import MAX_LENGTH, acceptable

JSON, CSV = "application/json", "text/csv"
OFFERS = (JSON, CSV)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        pytest.param("", [JSON, CSV], id="no header"),
        pytest.param("*/*", [JSON, CSV], id="anything"),
        pytest.param("application/*", [JSON], id="any application"),
        pytest.param("application/json", [JSON], id="JSON"),
        pytest.param("APPLICATION/Json", [JSON], id="capitals"),
        pytest.param("text/csv", [CSV], id="CSV"),
        pytest.param("text/*", [CSV], id="any text"),
        pytest.param("text/csv, application/json", [CSV, JSON], id="as they are named"),
        pytest.param("application/json,text/csv", [JSON, CSV], id="two headers joined by a comma"),
        pytest.param("text/csv;q=0.4, application/json;q=0.5", [JSON, CSV], id="by quality"),
        pytest.param("*/*, text/csv", [CSV, JSON], id="named exactly"),
        pytest.param("*/*, text/*", [CSV, JSON], id="named more exactly"),
        pytest.param("*/*;q=0.1, text/csv; Q=0.05", [JSON, CSV], id="a quality overrides a wider range"),
        pytest.param("*/*, application/json;q=0", [CSV], id="all but JSON"),
        pytest.param("text/*;q=0.3, text/csv;q=0, */*;q=0.2", [JSON], id="all but CSV"),
        pytest.param("text/csv;q=0, text/csv", [CSV], id="twice: the better one"),
        pytest.param('text/csv;header="a, b\\", c";q=0.5, application/json', [JSON, CSV], id="a quoted comma"),
        pytest.param("application/json;profile=x;charset=utf-8", [JSON], id="parameters"),
        pytest.param("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", [JSON, CSV], id="a browser"),
        pytest.param("text/html, image/gif, *; q=.2, */*; q=.2", [JSON, CSV], id="Java"),
        pytest.param(", ,text/csv ;q=1.000,", [CSV], id="empty elements"),
        pytest.param("text/csv;q=2, */*;q=0.001", [JSON, CSV], id="a quality past 1 is none"),
    ],
)
def test_the_best_liked_type_comes_first(header: str, taken: list[str]) -> None:
    """Quality decides, then how exactly a type is named, then the order in the header, then our own."""
    assert list(acceptable(header, OFFERS)) == taken


@pytest.mark.parametrize(
    "header",
    [
        "text/html",
        "application/problem+json",
        "image/*",
        "application/json;q=0",
        "*/*;q=0.0",
        "application/json;q=nan",
        "application/json;q=",
        "*",
        "json",
        "*/json",
        "text/csvx",
        "ä",
        '"',
        "x" * (MAX_LENGTH + 1),
        "*/*" + " " * MAX_LENGTH + ", */*",
    ],
    ids=lambda header: header[:24],
)
def test_a_header_that_takes_nothing_of_ours_is_refused(header: str) -> None:
    """So is one past all bounds, whatever it takes: nobody reads it to its end."""
    with pytest.raises(NotAcceptable):
        acceptable(header, OFFERS)


RANGES = st.sampled_from(
    ["*/*", "text/*", "text/csv", "application/*", JSON, "image/png", "*", "", "q=1", ";", '"', "\\"]
)
PARAMETERS = st.sampled_from(["", ";q=0", ";q=0.5", "; q=1", ";q=1e5", ";q=٣", ";q=-1", ';x="', ';x=",";q=.7', "\t;"])
HEADERS = st.lists(st.tuples(RANGES, PARAMETERS).map("".join)).map(",".join)


@given(st.text() | HEADERS)
@example("\x00, */*;q=\U0001d7d9")
def test_any_header_is_read_or_refused(header: str) -> None:
    """Nothing but what is offered, each once; or `NotAcceptable`, and no other failure."""
    try:
        taken = list(acceptable(header, OFFERS))
    except NotAcceptable:
        return
    assert taken
    assert len(taken) == len(set(taken) & set(OFFERS))


QUALITIES = st.integers(0, 1000)


@given(QUALITIES, QUALITIES)
def test_the_higher_quality_goes_first(json: int, csv: int) -> None:
    """Whatever stands where; nought takes nothing."""
    header = f"text/csv;q={csv / 1000:.3f}, application/json;q={json / 1000:.3f}"
    liked = {CSV: csv, JSON: json}
    expected = sorted((media_type for media_type in liked if liked[media_type]), key=lambda name: -liked[name])
    if expected:
        assert list(acceptable(header, OFFERS)) == expected
    else:
        with pytest.raises(NotAcceptable):
            acceptable(header, OFFERS)


@pytest.mark.parametrize("hostile", ['"', '"\\', ",", ";", "a/b;", '"\\"', "q=0.", " ", "*/*;q=0." + "0" * 50 + ","])
def test_a_hostile_header_costs_next_to_nothing(hostile: str) -> None:
    """The longest there may be is read in a few milliseconds."""
    header = (hostile * MAX_LENGTH)[:MAX_LENGTH]
    began = time.process_time()
    with suppress(NotAcceptable):
        acceptable(header, OFFERS)
    assert time.process_time() - began < 0.2
