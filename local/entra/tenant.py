"""The emulated tenant: its app registrations, and what an application may ask of which resource."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from local.entra.errors import Refused
from local.faults import Faults
from local.issuer import Issuer
from local.people import (
    GATEWAY_CLIENT_ID,
    GATEWAY_OBJECT_ID,
    MANAGED_IDENTITY_OBJECT_ID,
    PEOPLE,
    SCRIPT_CLIENT_ID,
    Person,
)

GATEWAY_SCOPE = "access_as_user"
GRAPH = "https://graph.microsoft.com"
OPENID_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})

_AGENT_SCOPES = "DataAgent.Execute.All Item.Read.All"
_CONSENTED = {
    GATEWAY_CLIENT_ID: GATEWAY_SCOPE,
    "https://api.fabric.microsoft.com": _AGENT_SCOPES,
    "https://analysis.windows.net/powerbi/api": _AGENT_SCOPES,
}
"""The `scp` that `/.default` means, by audience; `user_impersonation` for any other."""


@dataclass(frozen=True)
class Registration:
    """One app registration; without any credential it is a public client."""

    client_id: str
    object_id: str
    name: str
    redirect_uris: frozenset[str] = frozenset()
    secret: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    """PEM of the registered certificate."""
    federated_subject: str | None = None
    """Object id of the managed identity whose tokens prove this application."""

    @property
    def is_public(self) -> bool:
        """Whether this client can prove nothing, as a page in a browser or a script on a laptop."""
        return not (self.secret or self.certificate or self.federated_subject)


def registrations(
    *,
    redirect_uris: Iterable[str] = (),
    secret: str | None = None,
    certificate: str | None = None,
    script_redirect_uris: Iterable[str] = (),
) -> dict[str, Registration]:
    """The tenant's two registrations by client id: the gateway, proved by its managed identity too, and the script."""
    gateway = Registration(
        GATEWAY_CLIENT_ID,
        GATEWAY_OBJECT_ID,
        "Fabric Data Agent Gateway",
        frozenset(redirect_uris),
        secret,
        certificate,
        MANAGED_IDENTITY_OBJECT_ID,
    )
    script = Registration(SCRIPT_CLIENT_ID, SCRIPT_CLIENT_ID, "Local scripts", frozenset(script_redirect_uris))
    return {gateway.client_id: gateway, script.client_id: script}


@dataclass(frozen=True)
class Code:
    """What an authorization code stands for, and what it is bound to."""

    client_id: str
    redirect_uri: str
    scope: str
    challenge: str = field(repr=False)
    nonce: str = field(repr=False)
    person: Person
    sid: str
    contexts: frozenset[str]
    """The authentication contexts that the sign-in has proven."""
    expires: float


@dataclass
class Entra:
    """The tenant as its endpoints know it."""

    issuer: Issuer
    registrations: dict[str, Registration]
    people: Mapping[str, Person] = field(default_factory=lambda: PEOPLE)
    """The members, by key."""
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """App roles on the gateway, by person key or client id."""
    token_seconds: int = 4200
    faults: Faults = field(default_factory=Faults)
    """By endpoint: discovery, keys, authorize, token, logout."""
    codes: dict[str, Code | None] = field(default_factory=dict, repr=False)
    """The authorization codes; None once redeemed."""
    home: Issuer | None = field(default=None, repr=False)
    """The issuer of the applications' managed identities, where they live in another tenant."""
    partners: dict[str, "Entra"] = field(default_factory=dict, repr=False)
    """Other tenants at the same address, by tenant id."""

    @property
    def calls(self) -> Counter[str]:
        """Requests so far: by endpoint name, and those to the token endpoint by grant type too."""
        return self.faults.calls

    @property
    def authority(self) -> str:
        """The address that clients are configured with, as `https://localhost:8443/<tenant id>`."""
        return f"{self.issuer.base_url}/{self.issuer.tenant_id}"

    @property
    def token_endpoint(self) -> str:
        """Where clients redeem grants; the audience of their own assertions."""
        return f"{self.authority}/oauth2/v2.0/token"

    def tenant(self, tenant_id: str) -> "Entra | None":
        """The tenant with this id at this address, which may be this one; None where there is none."""
        return self if tenant_id == self.issuer.tenant_id else self.partners.get(tenant_id)

    def registration(self, client_id: str) -> Registration:
        """The registration; raises Refused where the tenant has none."""
        if client_id not in self.registrations:
            raise Refused(700016)
        return self.registrations[client_id]

    def member(self, object_id: str) -> Person:
        """The person with this object id; raises Refused where the tenant has none."""
        for person in self.people.values():
            if person.object_id == object_id:
                return person
        raise Refused(50034)


@dataclass(frozen=True)
class Access:
    """One resource, and the permissions asked of it."""

    resource: str
    permissions: tuple[str, ...]

    @property
    def audience(self) -> str:
        """The `aud` of a token for the resource: an application's own API is named by its client id."""
        return self.resource.removeprefix("api://")

    @property
    def scp(self) -> str:
        """The `scp` claim, space-separated."""
        if self.permissions == (".default",):
            return _CONSENTED.get(self.audience, "user_impersonation")
        return " ".join(self.permissions)


def parse_scope(scope: str) -> list[Access]:
    """The resources of a `scope` parameter, in order; the OpenID scopes belong to none."""
    asked: dict[str, list[str]] = {}
    for item in scope.split():
        if item not in OPENID_SCOPES:
            resource, _, permission = item.rpartition("/")
            asked.setdefault(resource or GRAPH, []).append(permission)
    return [Access(resource, tuple(permissions)) for resource, permissions in asked.items()]
