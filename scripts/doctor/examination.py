"""The examination: the checks in their order, each only where what it stands on is in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from scripts.doctor.checks import agents, azure_identity, configuration, entra, key_vault, person, registration, storage
from scripts.doctor.checks import public_address as address
from scripts.doctor.overheard import Overheard, listening
from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, skipped

CHECK_SECONDS = 60
SETTINGS = "settings"


@dataclass(frozen=True)
class Step:
    """One check, and the names of those that have to be in order before it is worth making."""

    name: str
    check: Callable[[Patient], Awaitable[Finding]]
    needs: tuple[str, ...] = (SETTINGS,)


async def examine(patient: Patient) -> AsyncIterator[Finding]:
    """Each finding as soon as it is there."""
    in_order: set[str] = set()
    with listening() as overheard:
        yield (settings := await _finding(Step(SETTINGS, configuration.settings), patient))
        yield await _finding(Step("platform settings", configuration.platform), patient)
        if settings.status != "ok":
            yield skipped("everything else", "the settings have to be in order first")
            return
        for step in _steps(patient, overheard):
            lacking = [name for name in step.needs if name not in {SETTINGS, *in_order}]
            finding = skipped(step.name, f"needs: {lacking[0]}") if lacking else await _finding(step, patient)
            if finding.status == "ok":
                in_order.add(step.name)
            yield finding


async def _finding(step: Step, patient: Patient) -> Finding:
    """What the check finds. One that fails itself is a finding too."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await step.check(patient)
    except TimeoutError:
        cause = f"no end within {CHECK_SECONDS} s: something on the way is silent"
        return failed(step.name, "no end", cause, "try again")
    except Exception as fault:  # noqa: BLE001  # whatever a check meets that it has no words for
        cause = f"the check itself failed ({type(fault).__name__})"
        return failed(step.name, "no result", cause, "look at the log of the app")


def _steps(patient: Patient, overheard: Overheard) -> Iterator[Step]:
    """The checks of a patient whose settings are in order."""
    settings = patient.settings
    yield Step("limits", configuration.limits)
    yield Step(azure_identity.NAME, azure_identity.azure_identity)
    yield Step(key_vault.NAME, key_vault.key_vault, (azure_identity.NAME,))
    yield Step("index-key", key_vault.index_key, (key_vault.NAME,))
    yield Step("sealing-key", key_vault.sealing_key, (key_vault.NAME,))
    if settings.client_credential == "secret":
        yield Step("client-secret", key_vault.client_secret, (key_vault.NAME,))
    if settings.client_credential == "certificate":
        yield Step("client-certificate", key_vault.client_certificate, (key_vault.NAME,))
    by_identity: tuple[str, ...] = () if settings.state_storage.connection_string else (azure_identity.NAME,)
    yield Step(storage.ROWS, storage.table_storage, by_identity)
    yield Step(storage.PROBE, storage.probe_row, (storage.ROWS,))
    yield Step(storage.CLOCK, storage.clock, (storage.ROWS,))
    yield Step(storage.QUEUE, storage.queue, by_identity)
    for tenant_id in sorted(settings.allowed_tenants, key=lambda each: each != settings.tenant_id):
        yield Step(entra.tenant_name(tenant_id), partial(entra.tenant, tenant_id=tenant_id))
    own = entra.tenant_name(settings.tenant_id)
    if patient.source.kind == "deployed app":
        yield Step(registration.APPLICATION, registration.application)
        yield Step(registration.FEDERATED, registration.federated_credential)
    by = azure_identity.NAME if settings.client_credential == "managed-identity" else key_vault.NAME
    yield Step(entra.CREDENTIAL, partial(entra.client_credential, overheard=overheard), (own, by))
    yield Step(person.TOKEN, person.token, (own,))
    yield Step(person.ON_BEHALF_OF, partial(person.on_behalf_of, overheard=overheard), (entra.CREDENTIAL, person.TOKEN))
    yield Step(person.PROFILES, person.profiles, (person.ON_BEHALF_OF,))
    for name in settings.agents:
        yield Step(agents.agent_name(name), partial(agents.agent, name=name))
    yield Step(address.NAME, address.public_address)
