"""What a failed call to an Azure service met, and what its usual refusals mean."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from scripts.doctor.patient import PROPAGATION, Patient
from scripts.findings import Finding, failed, skipped

_FIREWALL = {"ForbiddenByFirewall", "ForbiddenByConnection", "AuthorizationFailure"}
"""https://learn.microsoft.com/azure/key-vault/general/rest-error-codes and
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes: a refusal for where the call comes
from, not for who makes it."""


@dataclass(frozen=True)
class Reply:
    """The status, 0 where none came, and the service's own code, empty where it gives none."""

    status: int
    code: str = ""

    @property
    def told(self) -> str:
        """Both, in words."""
        if not self.status:
            return "no reply"
        return f"{self.status} {self.code}".rstrip()


@dataclass(frozen=True)
class Service:
    """One service of Azure: how it is told of, and what commands about it need."""

    what: str
    role: str
    scope: str
    look: str
    open: str
    client_id: str | None


def reply_to(fault: BaseException) -> Reply:
    """What came back, by the chain of causes behind `fault`."""
    current: BaseException | None = fault
    while current is not None:
        status = getattr(current, "status_code", None)
        if isinstance(status, int):
            return Reply(status, _code(current))
        current = current.__cause__
    return Reply(0)


def refusal(patient: Patient, name: str, service: Service, reply: Reply) -> Finding:
    """What it means that `service` did not do what it was asked for."""
    if not reply.status:
        cause = (
            f"nothing answers at the address of {service.what}: it does not exist, or this network does not reach it"
        )
        return failed(name, reply.told, cause, service.look)
    if reply.status == HTTPStatus.UNAUTHORIZED:
        cause = (
            f"{service.what} does not accept the token: it belongs to another tenant than TENANT_ID, or another cloud"
        )
        return failed(name, reply.told, cause, service.look)
    if reply.status != HTTPStatus.FORBIDDEN:
        return failed(name, reply.told, f"{service.what} fails or throttles, whoever asks", service.look)
    if reply.code in _FIREWALL:
        return _forbidden(
            patient, name, reply, f"the firewall of {service.what} does not let this network in", service.open
        )
    who = patient.identity(service.client_id)
    cure = (
        f'az role assignment create --role "{service.role}" --assignee {who} --scope {service.scope}  # {PROPAGATION}'
    )
    return _forbidden(patient, name, reply, f"the role `{service.role}` is missing at {service.what}, or is new", cure)


def _forbidden(patient: Patient, name: str, reply: Reply, cause: str, cure: str) -> Finding:
    """What a developer is refused, the app may have: then it is no failure."""
    if patient.as_developer:
        detail = f"{reply.told}: your own sign-in or network is refused, which tells nothing of the app's ({cause})"
        return skipped(name, detail, cure)
    return failed(name, reply.told, cause, cure)


def _code(fault: BaseException) -> str:
    """The service's own word: the innermost one, of the forms that Key Vault, Tables and Queues have."""
    told: Any = getattr(fault, "error", None)
    inner = getattr(told, "innererror", None)
    if isinstance(inner, dict) and isinstance(inner.get("code"), str):
        return str(inner["code"])
    known = getattr(fault, "error_code", None) or getattr(told, "code", None)
    return str(getattr(known, "value", known) or "")
