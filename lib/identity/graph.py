"""The person's profile in Microsoft Graph: what a page shows beside the name.

https://learn.microsoft.com/graph/api/user-get. The profile decorates an answer that is complete without it, so no
failure of Graph becomes one of the gateway's.
"""

import logging
from dataclasses import dataclass, field

import httpx

from lib.identity.documents import DocumentUnusable, fetch_document

_SELECT = "displayName,jobTitle,officeLocation"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """What Graph tells of a person; empty where it has nothing."""

    display_name: str = field(repr=False)
    job_title: str = field(repr=False)
    office: str = field(repr=False)


async def profile(http: httpx.AsyncClient, graph_url: str, token: str) -> Profile | None:
    """The profile of the person that `token` (for Graph, scope User.Read) speaks for; None where it cannot be had."""
    url = f"{graph_url}/v1.0/me?$select={_SELECT}"
    try:
        person = await fetch_document(http, "graph", url, {"Authorization": f"Bearer {token}"})
    except (httpx.HTTPError, TimeoutError, DocumentUnusable) as fault:
        _log.warning("the profile cannot be read", extra={"fault": type(fault).__name__})
        return None
    texts = (person.get(name) for name in _SELECT.split(","))
    return Profile(*(text if isinstance(text, str) else "" for text in texts))
