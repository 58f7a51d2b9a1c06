"""Which function answers a path: the routing rules of the Azure Functions host.

The rules are those of the host's `WebScriptHostHttpRoutesManager` over ASP.NET Core's `RoutePatternMatcher`:

- literals match without regard to case, one trailing slash is ignored, an empty segment matches nothing;
- `{name}` takes one segment, `{name?}` one or none, `{*path}` all the rest, also nothing;
- methods are a constraint of the route: with another method the next route is tried;
- the first match wins, so the order of the routes matters: the host keeps them in the order of function names.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_PARAMETER = re.compile(r"\{(?P<catch_all>\*{0,2})(?P<name>[A-Za-z_]\w*)(?P<optional>\??)\}")


@dataclass(frozen=True)
class Route:
    """One HTTP route: the function it leads to, its template with the prefix, the methods it takes (none: all)."""

    function: str
    template: str
    methods: frozenset[str]
    pattern: re.Pattern[str]

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the route's parameters if it takes this decoded path with this method."""
        if self.methods and method not in self.methods:
            return None
        found = self.pattern.fullmatch(path)
        return {name: value for name, value in found.groupdict().items() if value} if found else None


def route(function: str, template: str, methods: Iterable[str], prefix: str) -> Route:
    """Return the route of a function. Raises `ValueError` for a template with inline constraints or mixed segments."""
    full = "/".join(part for part in (prefix, template) if part)
    pattern = "".join(map(_segment_pattern, full.split("/")))
    compiled = re.compile(f"{pattern}/?", re.IGNORECASE | re.DOTALL)
    return Route(function, full, frozenset(method.upper() for method in methods), compiled)


def find(routes: Collection[Route], method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the name of the function that answers, with its route parameters; None is a bare 404."""
    matches = ((candidate.function, candidate.match(method, path)) for candidate in routes)
    return next(((function, params) for function, params in matches if params is not None), None)


def path_of(url: str) -> str:
    """Return a URL's path as the host's server decodes it: all but `%2F`, which would make two segments of one."""
    return unquote(re.sub("%(2f)", r"%25\1", urlsplit(url).path, flags=re.IGNORECASE))


def _segment_pattern(segment: str) -> str:
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        if "{" in segment:
            raise ValueError(f"route segment {segment!r} is not supported by the local host")
        return "/" + re.escape(segment)
    name = parameter["name"]
    if parameter["catch_all"]:
        return f"(?:/(?P<{name}>(?!/).*))?"
    return f"(?:/(?P<{name}>[^/]+))" + ("?" if parameter["optional"] else "")
