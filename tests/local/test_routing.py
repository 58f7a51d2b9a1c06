"""The routing rules of the Azure Functions host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.routing import find, path_of, route

SEGMENT = st.text(st.characters(exclude_characters="/{}"), min_size=1)


@pytest.mark.parametrize(
    ("template", "path", "params"),
    [
        pytest.param("health", "/api/health", {}, id="literal"),
        pytest.param("health", "/API/Health", {}, id="case-of-literals-is-ignored"),
        pytest.param("health", "/api/health/", {}, id="one-trailing-slash-is-ignored"),
        pytest.param("query/{id}", "/api/query/Ab", {"id": "Ab"}, id="parameter"),
        pytest.param("query/{id?}", "/api/query/7", {"id": "7"}, id="optional-parameter-present"),
        pytest.param("query/{id?}", "/api/query", {}, id="optional-parameter-absent"),
        pytest.param("{*path}", "/api/a/b/", {"path": "a/b/"}, id="catch-all-keeps-its-slashes"),
        pytest.param("{*path}", "/api", {}, id="catch-all-takes-nothing"),
        pytest.param("{*path}", "/api/", {}, id="catch-all-takes-a-bare-slash"),
        pytest.param("{*path}", "/api/a\nb", {"path": "a\nb"}, id="catch-all-takes-a-line-break"),
    ],
)
def test_a_template_takes_a_path(template: str, path: str, params: dict[str, str]) -> None:
    """Literals, parameters, optional parameters and catch-alls match as in ASP.NET Core's routing."""
    assert route("f", template, [], "api").match("GET", path) == params


@pytest.mark.parametrize(
    ("template", "path"),
    [
        pytest.param("health", "/health", id="without-the-prefix"),
        pytest.param("health", "/api/health/live", id="longer"),
        pytest.param("health", "/api/health//", id="two-trailing-slashes"),
        pytest.param("query/{id}", "/api/query", id="parameter-missing"),
        pytest.param("query/{id}", "/api/query//", id="parameter-empty"),
        pytest.param("a.c", "/api/abc", id="a-dot-is-a-dot"),
        pytest.param("{*path}", "/api//a", id="catch-all-behind-an-empty-segment"),
        pytest.param("{*path}", "/apiary", id="prefix-is-a-whole-segment"),
    ],
)
def test_a_template_refuses_a_path(template: str, path: str) -> None:
    """A path with other, missing, further or empty segments is not the route's."""
    assert route("f", template, [], "api").match("GET", path) is None


def test_an_empty_prefix_leaves_the_template_alone() -> None:
    """`routePrefix: ""` puts the functions at the root."""
    bare = route("f", "health", [], "")
    assert (bare.template, bare.match("GET", "/health")) == ("health", {})


def test_the_first_route_that_takes_path_and_method_wins() -> None:
    """The method is a constraint: where it does not fit, the next route is tried, and no fit is no answer."""
    routes = [route("ask", "query", ["post"], "api"), route("rest", "{*path}", ["GET", "POST"], "api")]
    assert find(routes, "POST", "/api/query") == ("ask", {})
    assert find(routes, "GET", "/api/query") == ("rest", {"path": "query"})
    assert find(routes, "DELETE", "/api/query") is None


@pytest.mark.parametrize("template", ["{id:int}", "v{version}", "{name}.{extension}"])
def test_a_template_beyond_the_rules_is_refused(template: str) -> None:
    """A template that the local host would match otherwise than the cloud does is an error at the start."""
    with pytest.raises(ValueError, match="not supported"):
        route("f", template, [], "api")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        pytest.param("http://h/api/a%20b?c=%20d", "/api/a b", id="decoded-without-the-query"),
        pytest.param("http://h/a%2Fb%2fc", "/a%2Fb%2fc", id="an-encoded-slash-stays-encoded"),
        pytest.param("http://h/a%252Fb", "/a%2Fb", id="decoded-once"),
        pytest.param("http://h", "", id="no-path"),
    ],
)
def test_a_path_is_decoded_once_but_for_slashes(url: str, path: str) -> None:
    """Kestrel decodes a path, except for `%2F`."""
    assert path_of(url) == path


@given(first=SEGMENT, rest=st.lists(SEGMENT, min_size=1))
def test_a_parameter_is_one_segment_and_a_catch_all_the_rest(first: str, rest: list[str]) -> None:
    """Whatever the segments hold, parameters cut the path at its slashes and nowhere else."""
    path = "/".join(["/api", first, *rest])
    assert route("f", "{first}/{*rest}", [], "api").match("GET", path) == {"first": first, "rest": "/".join(rest)}


@given(literal=SEGMENT)
def test_a_literal_is_matched_as_it_is_written(literal: str) -> None:
    """No character of a literal is special."""
    assert route("f", literal, [], "api").match("GET", f"/api/{literal}") == {}
