"""What a caller takes: the `Accept` header (RFC 9110 section 12.5.1), and which of our media types it likes best.

What cannot be read in it is passed over, as parameters are, but for the weight: each type comes in one form alone.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from lib.errors import NotAcceptable

MAX_LENGTH = 1024
KNOWN_HEADERS = 64
"""A client sends the same one each time."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')  # a parameter's value: commas in it separate nothing
_WEIGHT = re.compile(r"0?\.[0-9]+|0\.?|1(?:\.0*)?")  # `.2` is what Java's own client sends


@lru_cache(KNOWN_HEADERS)
def acceptable(header: str, offers: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `offers` that an `Accept` header takes, the best liked first; without a header all of them.

    Where two are liked equally, the one that is named more exactly goes first, then the one that is named first, then
    the one that is offered first. Raises `NotAcceptable` where none is taken.
    """
    if len(header) > MAX_LENGTH:
        raise NotAcceptable(f"`Accept` must not be longer than {MAX_LENGTH} characters.")
    ranges = list(_ranges(header or "*/*"))
    ranks = {offer: rank for offer in offers if (rank := _rank(offer, ranges))}
    if not ranks:
        raise NotAcceptable(f"`Accept` takes nothing of what there is: {', '.join(offers)}.")
    return tuple(sorted(ranks, key=ranks.__getitem__))


def _ranges(header: str) -> Iterator[tuple[str, float]]:
    """The media ranges in `header` in small letters, each with its weight; one whose weight is none is left out."""
    for element in _QUOTED.sub("", header).split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        if _WEIGHT.fullmatch(weight):
            yield name, float(weight)


def _rank(offer: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int, int] | None:
    """What sorts `offer` among others, by the most exact range that covers it; None where that weighs nothing."""
    covering = (offer, f"{offer.partition('/')[0]}/*", "*/*")
    found = [(covering.index(name), -weight, place) for place, (name, weight) in enumerate(ranges) if name in covering]
    if not found:
        return None
    exactness, weight, place = min(found)
    return (weight, exactness, place) if weight else None
