"""The metrics: a closed list, as `docs/telemetry.md` has it.

Attributes have few values each, from closed sets: agents by the names of the settings, problems by their codes. What a
caller can choose freely is in none.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric, by the names of OpenTelemetry."""

    name: str
    kind: Literal["counter", "up_down_counter", "histogram", "gauge"]
    unit: str
    description: str
    attributes: frozenset[str]


def _metric(
    name: str,
    kind: Literal["counter", "up_down_counter", "histogram", "gauge"],
    unit: str,
    description: str,
    *attributes: str,
) -> Metric:
    return Metric(name, kind, unit, description, frozenset(attributes))


QUESTIONS = _metric(
    "gateway.questions", "counter", "{question}", "Questions that were put", "agent", "outcome", "code", "cached"
)
QUESTION_DURATION = _metric(
    "gateway.question.duration", "histogram", "s", "How long their replies took", "agent", "outcome", "cached"
)
QUESTIONS_UNDER_WAY = _metric(
    "gateway.questions.under_way", "up_down_counter", "{question}", "Questions that an agent works on", "agent"
)
SERVED = _metric(
    "http.server.request.duration",
    "histogram",
    "s",
    "How long replies took",
    "http.route",
    "http.request.method",
    "http.response.status_code",
    "error.type",
)
HTTP_CALLS = _metric(
    "http.client.request.duration",
    "histogram",
    "s",
    "How long calls to Fabric, Entra and Graph took",
    "peer",
    "http.request.method",
    "http.response.status_code",
    "error.type",
)
AGENT_CALLS = _metric(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "How long an agent took over a question",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.agent.name",
    "error.type",
)
LOOKUPS = _metric("gateway.answers.lookups", "counter", "{lookup}", "Where a question's answer was kept", "result")
DECISIONS = _metric(
    "gateway.limits.decisions", "counter", "{decision}", "What limits have decided", "policy", "decision", "by"
)
CIRCUIT_STATE = _metric("gateway.circuit.state", "gauge", "1", "0 closed, 1 half open, 2 open", "peer")
RETRIES = _metric("gateway.retries", "counter", "{retry}", "Calls that were to be made again", "peer", "result")
TOKENS = _metric("gateway.tokens", "counter", "{token}", "Tokens for Fabric and Graph", "kind", "result")
STORAGE_CALLS = _metric(
    "gateway.storage.calls",
    "counter",
    "{call}",
    "Calls to Table Storage, queue and Key Vault",
    "service",
    "operation",
    "result",
)
STORAGE_DURATION = _metric(
    "gateway.storage.duration", "histogram", "s", "How long those calls took", "service", "operation"
)
DEGRADED = _metric("gateway.degraded", "counter", "{event}", "What was done without something that is away", "mode")
SIGN_INS = _metric("gateway.sign_ins", "counter", "{sign_in}", "Sign-ins by redirect", "result", "code")

METRICS = (
    QUESTIONS,
    QUESTION_DURATION,
    QUESTIONS_UNDER_WAY,
    SERVED,
    HTTP_CALLS,
    AGENT_CALLS,
    LOOKUPS,
    DECISIONS,
    CIRCUIT_STATE,
    RETRIES,
    TOKENS,
    STORAGE_CALLS,
    STORAGE_DURATION,
    DEGRADED,
    SIGN_INS,
)
