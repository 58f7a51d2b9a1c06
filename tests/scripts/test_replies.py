"""What refusals of Azure's services mean, to the app and to a developer."""

from types import SimpleNamespace

import pytest

from lib.errors import StateUnavailable
from scripts.doctor.replies import Reply, Service, refusal, reply_to
from tests.scripts.patients import IDENTITY, deployed, in_azure

VAULT = Service("the vault v", "Key Vault Secrets User", "/scope", "az look", "az open", IDENTITY)


class Refused(Exception):
    """A refusal as the SDKs raise it."""

    def __init__(self, status: int, **told: object) -> None:
        super().__init__("private")
        self.status_code = status
        for name, value in told.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (None, Reply(0)),
        (OSError("private"), Reply(0)),
        (Refused(503), Reply(503)),
        (Refused(403, error_code="AuthorizationFailure"), Reply(403, "AuthorizationFailure")),
        (Refused(404, error_code=SimpleNamespace(value="QueueNotFound")), Reply(404, "QueueNotFound")),
        (Refused(403, error=SimpleNamespace(code="Forbidden", innererror=None)), Reply(403, "Forbidden")),
        (
            Refused(403, error=SimpleNamespace(code="Forbidden", innererror={"code": "ForbiddenByRbac"})),
            Reply(403, "ForbiddenByRbac"),
        ),
        (Refused(403, error=SimpleNamespace(code=None, innererror={"code": 1})), Reply(403)),
    ],
)
def test_the_services_own_code_is_found_behind_the_gateways_error(cause: Exception | None, expected: Reply) -> None:
    """The innermost word says most."""
    fault = StateUnavailable()
    fault.__cause__ = cause
    assert reply_to(fault) == expected


@pytest.mark.parametrize(
    ("reply", "words", "cure"),
    [
        (Reply(0), "nothing answers", "az look"),
        (Reply(401), "another tenant", "az look"),
        (Reply(500), "fails or throttles", "az look"),
        (Reply(403, "ForbiddenByFirewall"), "the firewall of the vault v", "az open"),
        (
            Reply(403, "ForbiddenByRbac"),
            "the role `Key Vault Secrets User` is missing",
            f"--assignee {IDENTITY} --scope /scope",
        ),
    ],
)
def test_a_refusal_of_the_app_is_a_failure(reply: Reply, words: str, cure: str) -> None:
    """With its cause and the command."""
    found = refusal(in_azure(), "key vault", VAULT, reply)
    assert found.status == "failed"
    assert words in found.cause
    assert cure in found.cure


@pytest.mark.parametrize("code", ["ForbiddenByFirewall", "ForbiddenByRbac"])
def test_a_refusal_of_a_developer_tells_nothing_of_the_app(code: str) -> None:
    """Neither their roles nor their network are the app's."""
    found = refusal(deployed(), "key vault", VAULT, Reply(403, code))
    assert (found.status, found.cause) == ("skipped", "")
    assert "tells nothing of the app's" in found.detail


def test_a_system_assigned_identity_is_looked_up() -> None:
    """It has no client id of its own among the settings."""
    patient = in_azure(AZURE_CLIENT_ID=None)
    assert patient.identity(None) == (
        '"$(az functionapp identity show --name "$APP" --resource-group "$RESOURCE_GROUP" '
        '--query principalId --output tsv)"'
    )
