"""Who and what exists in the emulated tenant: the people, the app registrations, the data agents."""

from dataclasses import dataclass

TENANT_ID = "3c9d5e0a-4b1f-4f62-9a57-0d2be1c7a001"
PARTNER_TENANT_ID = "5e1f7c2b-6d30-4a84-bc79-2f4d03e9c009"
"""A second tenant, for those who emulate one."""
GATEWAY_CLIENT_ID = "8a2f61d4-7c35-4e0b-b8a9-5f60c2d3b002"
"""The gateway's own app registration: audience of the tokens its callers bring."""
SCRIPT_CLIENT_ID = "b17e94c3-20d8-4c6a-9e41-7a8d1f5ec003"
"""A public client, as a script or a web page would be registered; pre-authorised for the gateway."""
MANAGED_IDENTITY_CLIENT_ID = "d4c0b8e6-5a19-47f3-8d72-9be6a3f0d004"
MANAGED_IDENTITY_OBJECT_ID = "e95f7a12-8b3c-4d60-a1e4-2c7d90b6f005"
GATEWAY_OBJECT_ID = "f06a8b23-9c4d-4e71-b2f5-3d8ea1c7a006"
"""The gateway's service principal: `oid` of the tokens it gets for itself."""

WORKSPACE_ID = "1b7c2d3e-4f50-4a61-8b72-9c83ad94b007"
SALES_AGENT_ID = "2c8d3e4f-5061-4b72-9c83-ad94be05c008"


@dataclass(frozen=True)
class Person:
    """One member, or guest, of an emulated tenant."""

    key: str
    object_id: str
    name: str
    username: str
    job_title: str
    office: str
    region: str
    """The one region whose sales row-level security lets this person see."""
    home_tenant_id: str = ""
    """Where a guest's account is; empty for a member."""


ALICE = Person(
    "alice",
    "a11ce000-0000-4000-8000-00000000a11c",
    "Alice Arden",
    "alice@contoso.example",
    "Sales lead",
    "Oslo",
    "North",
)
BOB = Person(
    "bob", "b0b00000-0000-4000-8000-000000000b0b", "Bob Baker", "bob@contoso.example", "Analyst", "Lisbon", "South"
)

PEOPLE = {person.key: person for person in (ALICE, BOB)}
