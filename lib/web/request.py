"""An HTTP request as the gateway sees it, whatever host received it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """One request. `headers` has lower-case names; `params` has the parts of the path that its route names.

    `query` has the decoded parameters, one value each: a host that received a name twice keeps one of them.
    `trace_id` is 32 hex digits: the caller's, by `traceparent` (W3C Trace Context), or a new one. `parent_id` is the
    caller's span there, if any. `route` is the path with names in the place of its params.
    """

    method: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    trace_id: str = ""
    parent_id: str = ""
    route: str = ""

    def header(self, name: str) -> str:
        """The header `name` (lower case), without surrounding white space; empty where it is absent."""
        return self.headers.get(name, "").strip()

    @property
    def media_type(self) -> str:
        """What `Content-Type` names, in small letters and without parameters; empty where there is none."""
        return self.header("content-type").partition(";")[0].strip().lower()
