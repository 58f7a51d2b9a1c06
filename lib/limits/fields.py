"""The fields `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), as structured fields."""

import math
from functools import cache

from lib.limits.usage import DAY_MS, Limits, Usage


def fields(limits: Limits, usage: Usage, now: int) -> tuple[tuple[str, str], ...]:
    """Both fields for what a principal has used; `now` in milliseconds since the epoch.

    `r` is how many questions would be let through now, `t` in how many seconds it will be more.
    """
    left = limits.rate.left(usage.tat, now)
    grows = (usage.tat - now - 1) % limits.rate.interval + 1 if usage.tat > now else 0
    wait = limits.rate.wait(usage.tat, now) or grows
    members = [f'"{limits.name}";r={left};t={math.ceil(wait / 1000)}']
    if (today := usage.left_today(limits, now)) is not None:
        members.append(f'"day";r={today};t={math.ceil(usage.rest_of_day(now) / 1000)}')
    return ("RateLimit", ", ".join(members)), ("RateLimit-Policy", _policies(limits))


@cache
def _policies(limits: Limits) -> str:
    policies = [f'"{limits.name}";q={limits.per_minute};w=60']
    if limits.per_day is not None:
        policies.append(f'"day";q={limits.per_day};w={DAY_MS // 1000}')
    if limits.in_flight is not None:
        policies.append(f'"in-flight";q={limits.in_flight};qu="concurrent-requests"')
    return ", ".join(policies)
