"""The state's storage: rows can be read and written, the queue is there, and the clocks agree."""

import secrets
import time

from lib.errors import StateUnavailable
from lib.storage.leases import TABLE
from lib.storage.properties import EXPIRES
from scripts.doctor.patient import Patient
from scripts.doctor.replies import Service, refusal, reply_to
from scripts.findings import Finding, failed, ok

ROWS, PROBE, QUEUE, CLOCK = "table storage", "a row written", "queue", "clock"
PROBE_SECONDS = 600
LEEWAY_SECONDS = 60
"""What tokens are given, so that a clock may be wrong by that much."""
_PARTITION = "doctor"


async def table_storage(patient: Patient) -> Finding:
    """Whether the account answers, and lets rows be read."""
    try:
        await patient.gateway.tables.ping()
    except StateUnavailable as fault:
        return refusal(patient, ROWS, _tables(patient), reply_to(fault))
    return ok(ROWS, patient.settings.state_storage.table_url)


async def probe_row(patient: Patient) -> Finding:
    """Whether rows can be written and deleted: one of the doctor's own, in a table that the sweeper keeps clean."""
    tables, row = patient.gateway.tables, secrets.token_hex(8)
    try:
        await tables.insert(TABLE, _PARTITION, row, {EXPIRES: int(time.time()) + PROBE_SECONDS})
        await tables.delete(TABLE, _PARTITION, row)
    except StateUnavailable as fault:
        return refusal(patient, PROBE, _tables(patient), reply_to(fault))
    return ok(PROBE, "and deleted")


async def clock(patient: Patient) -> Finding:
    """How far this machine's clock is from Table Storage's: the gateway goes by that, but tokens by the machine's."""
    seconds = round(patient.gateway.tables.clock.now() - time.time())
    if abs(seconds) <= LEEWAY_SECONDS:
        return ok(CLOCK, "as Table Storage's" if not seconds else f"{abs(seconds)} s off, which is made up for")
    told = f"{abs(seconds)} s {'behind' if seconds > 0 else 'ahead'}"
    cause = f"this machine's clock is not Table Storage's: past {LEEWAY_SECONDS} s good tokens are refused"
    return failed(CLOCK, told, cause, "sudo timedatectl set-ntp true")


async def queue(patient: Patient) -> Finding:
    """Whether the queue of long questions is there, and may be looked at."""
    from lib.answers.by_queue import QUEUE as NAME  # noqa: PLC0415  # heavy

    account = _queues(patient)
    try:
        exists = await patient.queue.exists()
    except StateUnavailable as fault:
        return refusal(patient, QUEUE, account, reply_to(fault))
    if exists:
        return ok(QUEUE, NAME)
    cause = f"the account has no queue `{NAME}`: nothing wakes the function that asks long questions"
    command = f"az storage queue create --name {NAME} --account-name {patient.account} --auth-mode login"
    return failed(QUEUE, "missing", cause, command)


def _tables(patient: Patient) -> Service:
    return _service(patient, "Table")


def _queues(patient: Patient) -> Service:
    return _service(patient, "Queue")


def _service(patient: Patient, kind: str) -> Service:
    account = patient.account
    return Service(
        what=f"the {kind} Storage of {account}",
        role=f"Storage {kind} Data Contributor",
        scope=f'"$(az storage account show --name {account} --query id --output tsv)"',
        look=f"az storage account show --name {account} --query primaryEndpoints.{kind.lower()}",
        open=f"az storage account network-rule list --account-name {account}",
        client_id=patient.settings.state_storage.managed_identity_client_id,
    )
