"""Each data agent: Fabric's front door, and behind it, with a token, whether the agent can be asked.

It is greeted and its tools are listed; no question is put to it, since that costs capacity. The doctor keeps what it
finds to itself: the board, which tells the gateway's instances of an agent's health, is not written to from here.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from lib.agents.failures import AddressUnknown, CapacityPaused, FabricTokenRejected, ServerFault, Unreached
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    AgentNotPublished,
    CapacityExceeded,
    DeadlineExceeded,
    GatewayError,
    StepUpRequired,
)
from lib.traffic.deadline import Deadline
from scripts.doctor.checks.person import how_to_get_one
from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok, skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lib.agents.data_agent import DataAgent, TokenSource

DISCOVERY_SECONDS = 20
_PORTAL = "https://app.fabric.microsoft.com/groups/{workspace}"
_YOURS, _THE_APPS, _THE_PERSONS = "your own", "the app's", "the person's"
_STATUS_PAGE = "https://support.fabric.microsoft.com/support/"
_NO_ADDRESS = "https://learn.microsoft.com/fabric/data-science/data-agent-mcp-server: copy the address anew"

type _Meanings = dict[type[GatewayError], tuple[str, str, str]]

_OF_THE_APP: _Meanings = {
    AgentAccessDenied: (
        "403",
        "the app is no Contributor of the workspace, or service principals may not use Fabric's APIs in this tenant",
        "add application {client} as Contributor: {portal}; allow `Service principals can use Fabric APIs`",
    ),
}
_MEANINGS: _Meanings = {  # what is a kind of another stands before it
    AgentNotPublished: ("not published", "the agent has no published version", "publish it: {portal}"),
    AgentAccessDenied: (
        "403",
        "the agent is not shared with the person, or one of its data sources is not",
        "share it with them: {portal}",
    ),
    CapacityPaused: (
        "paused",
        "the capacity of the agent's workspace is paused (CapacityNotActive)",
        "az fabric capacity resume --capacity-name <its capacity> --resource-group <the capacity's group>",
    ),
    CapacityExceeded: (
        "throttled",
        "Fabric throttles, or the capacity is overloaded (CapacityLimitExceeded)",
        "wait, or scale the capacity: Fabric's Capacity Metrics app shows what uses it",
    ),
    AddressUnknown: (
        "404",
        "Fabric knows no agent of these ids in the token's tenant: the address or the tenant is wrong",
        _NO_ADDRESS,
    ),
    FabricTokenRejected: (
        "401",
        "Fabric does not take the token: FABRIC_SCOPE names another resource, or another cloud",
        "set FABRIC_SCOPE to https://api.fabric.microsoft.com/.default",
    ),
    StepUpRequired: (
        "401 with claims",
        "conditional access asks for more than the sign-in has proven",
        "sign in again with what the policy asks for, and bring that token",
    ),
    ServerFault: ("failing", "Fabric fails, or the connection breaks", _STATUS_PAGE),
    Unreached: ("no connection", "Fabric's front door is not reached any more", _STATUS_PAGE),
    DeadlineExceeded: ("silent", "Fabric does not answer in time", _STATUS_PAGE),
    AgentFailed: (
        "unknown schema",
        "its tool does not take exactly one question: the schema has changed, or it is no data agent",
        "look at it, and publish it again: {portal}",
    ),
}


def agent_name(name: str) -> str:
    """What the check of an agent is called."""
    return f"agent {name}"


async def agent(patient: Patient, name: str) -> Finding:
    """Whether the agent could be asked, as far as that shows without a question."""
    from lib.agents.data_agent import DataAgent  # noqa: PLC0415  # heavy

    asked = DataAgent(patient.settings.agents[name].address, patient.gateway.fabric_http, name=name)
    try:
        await asked.ping()
    except GatewayError as fault:
        return _front_door(patient, name, fault)
    token, whose = await _token(patient, name)
    if token is None:
        told = "the front door answers; whether it is published takes a token"
        return skipped(agent_name(name), told, how_to_get_one(patient))
    return await _discovered(patient, name, asked, token, whose)


async def _discovered(patient: Patient, name: str, asked: "DataAgent", token: "TokenSource", whose: str) -> Finding:
    try:
        await asked.discover(token, Deadline.after(DISCOVERY_SECONDS))
    except AgentAccessDenied as fault:
        if whose == _YOURS:
            told = "403: it is not shared with you, which tells nothing of others"
            return skipped(agent_name(name), told, how_to_get_one(patient))
        return _refused(patient, name, fault, whose)
    except GatewayError as fault:
        return _refused(patient, name, fault, whose)
    tasks = await asked.is_known_to_grant_tasks()
    return ok(agent_name(name), f"published, by {whose} token" + (", with tasks" if tasks else ""))


async def _token(patient: Patient, name: str) -> "tuple[TokenSource | None, str]":
    """A token for the agent and whose it is; None where none is to be had, which other checks tell of."""
    scope, gateway = patient.settings.fabric_scope, patient.gateway
    source: Callable[..., Coroutine[Any, Any, str]] | None = None
    whose = _YOURS
    if patient.proves_the_app and patient.settings.agents[name].identity == "app":
        source, whose = partial(gateway.on_behalf_of.token_for_app, scope), _THE_APPS
    elif patient.proves_the_app and patient.person:
        source, whose = partial(gateway.on_behalf_of.token_for, patient.person, scope), _THE_PERSONS
    elif patient.as_developer:
        source = partial(_own_token, patient)
    try:
        if source:
            await source()
    except GatewayError:
        return None, ""
    return source, whose


async def _own_token(patient: Patient, *, rejected: str | None = None) -> str:  # noqa: ARG001  # there is no other
    """A token for Fabric of whoever is signed in at the Azure CLI."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # heavy

    try:
        return (await patient.gateway.azure_credential.get_token(patient.settings.fabric_scope)).token
    except AzureError as fault:
        raise GatewayError from fault


def _front_door(patient: Patient, name: str, fault: GatewayError) -> Finding:
    address = patient.settings.agents[name].address.url
    if isinstance(fault, Unreached):
        cause = "Fabric's front door is not reached: DNS, the network's way out, or TLS"
        return failed(agent_name(name), "no connection", cause, f"curl --head {address}")
    if isinstance(fault, DeadlineExceeded):
        return failed(
            agent_name(name), "silent", "Fabric's front door does not answer in time", f"curl --head {address}"
        )
    cause = "what answers there is not Fabric's front door, which asks strangers for a token"
    return failed(agent_name(name), "another answer", cause, _NO_ADDRESS)


def _refused(patient: Patient, name: str, fault: GatewayError, whose: str) -> Finding:
    """What keeps the agent from being asked."""
    address = patient.settings.agents[name].address
    names = {"portal": _PORTAL.format(workspace=address.workspace_id), "client": patient.settings.client_id}
    meanings = _OF_THE_APP if whose == _THE_APPS else {}
    for kind, (detail, cause, cure) in (_MEANINGS | meanings).items():
        if isinstance(fault, kind):
            return failed(agent_name(name), detail, cause, cure.format_map(names))
    return failed(agent_name(name), fault.code, "the token for Fabric is refused, as told above", "mend that first")
