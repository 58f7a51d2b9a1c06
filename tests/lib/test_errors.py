"""Rules for the error tree."""

import re

import pytest

from lib import errors
from lib.errors import GatewayError, Unavailable


def descendants(root: type[GatewayError]) -> list[type[GatewayError]]:
    """All classes below `root`."""
    return [found for child in root.__subclasses__() for found in (child, *descendants(child))]


def leaves() -> list[type[GatewayError]]:
    """The classes that are raised."""
    classes: list[type[GatewayError]] = [GatewayError, *descendants(GatewayError)]
    return [error for error in classes if "code" in vars(error)]


def test_each_error_has_a_code_of_its_own() -> None:
    """A client tells failures apart by `code` alone."""
    codes = [error.code for error in leaves()]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


def test_each_error_tells_the_caller_what_to_do() -> None:
    """Title and default detail are sentences of ours, not left over from a parent of another kind."""
    for error in leaves():
        assert 400 <= error.status <= 599
        assert error.title
        assert error.default_detail.endswith("."), error
        assert error is GatewayError or error.default_detail != GatewayError.default_detail, error


def test_whoever_is_told_that_something_is_away_is_told_when_to_come_again() -> None:
    """503 without `Retry-After` is an invitation to try in a loop."""
    assert all((error.default_retry_after or 0) >= 1 for error in descendants(Unavailable))


@pytest.mark.parametrize("error", leaves(), ids=lambda error: error.code)
def test_the_tree_in_the_docstring_is_true(error: type[GatewayError]) -> None:
    """The drawing names every class with its status (its own or its branch's) and code."""
    assert errors.__doc__
    line = next(line for line in errors.__doc__.splitlines() if re.search(rf"\b{error.__name__}\b", line))
    assert line.split()[-1] == error.code
    drawn = re.search(r"\b[45][0-9]{2}\b", line)
    assert drawn is None or int(drawn[0]) == error.status
    assert (drawn is None) == ("status" not in vars(error))
