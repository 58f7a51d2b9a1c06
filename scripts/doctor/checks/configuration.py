"""The settings themselves: the gateway's own, those of the platform, and whether they fit each other."""

from collections.abc import Iterator
from typing import Any

from lib.settings import Settings, SettingsInvalid
from scripts.doctor.azure_cli import AzureCliFailed, az
from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok, skipped

BODY_LIMIT = "65536"
FABRIC_CALLS_PER_MINUTE = 200
"""Of one identity, https://learn.microsoft.com/rest/api/fabric/articles/throttling."""

_UNSET = ("PYTHON_ENABLE_OPENTELEMETRY", "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY")
"""With either of them the worker keeps the function's own log lines from the host."""
_NOT_ON_FLEX = (
    "ENABLE_ORYX_BUILD", "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_PROCESS_COUNT", "FUNCTIONS_WORKER_RUNTIME", "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTOVERVNET", "WEBSITE_CONTENTSHARE",
    "WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_VNET_ROUTE_ALL",
)  # fmt: skip
"""https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations"""
_HOST = "AzureWebJobsStorage"
_HOST_SERVICES = tuple(f"{_HOST}__{service}ServiceUri" for service in ("blob", "queue", "table"))


async def settings(patient: Patient) -> Finding:
    """Every problem of the settings, in the gateway's own words."""
    name = "settings"
    if not (patient.environ.get("TENANT_ID") or patient.environ.get("CLIENT_ID")):
        cause = "no settings of a gateway are here: no local stack runs, and none was named"
        return failed(name, "nothing is set", cause, "make run, or make doctor APP=<name> RESOURCE_GROUP=<its group>")
    try:
        read = patient.settings
    except SettingsInvalid as refusal:
        named = dict.fromkeys(problem.split(" ")[0].partition("[")[0] for problem in refusal.problems)
        cure = patient.set_command(*(f"{variable}=…" for variable in named))
        return failed(
            name, f"{len(refusal.problems)} wrong", "; ".join(refusal.problems), f"{cure}  # docs/settings.md"
        )
    old = [agent.name for agent in read.agents.values() if agent.address.translated]
    return ok(
        name, f"{read.environment}" + (f"; an older form of address is translated: {', '.join(old)}" if old else "")
    )


async def platform(patient: Patient) -> Finding:
    """What the Functions host reads, which no code of ours could refuse."""
    name = "platform settings"
    set_wrong = list(_wrong(patient))
    missing = list(_missing(patient)) if patient.source.kind == "deployed app" else []
    if not (set_wrong or missing):
        return ok(name)
    causes = [f"{variable} {why}" for variable, why in set_wrong] + [
        f"{pair.partition('=')[0]} is not as it should be" for pair in missing
    ]
    commands = [patient.set_command(*missing)] if missing else []
    if set_wrong:
        unset = " ".join(variable for variable, _ in set_wrong)
        commands.append(f"az functionapp config appsettings delete {patient.app} --setting-names {unset}")
    return failed(name, f"{len(causes)} wrong", "; ".join(causes), " && ".join(commands))


def _wrong(patient: Patient) -> Iterator[tuple[str, str]]:
    """What must not be set, and why."""
    for variable in _UNSET:
        if patient.environ.get(variable, "").lower() in {"1", "true"}:
            yield variable, "keeps the gateway's own log lines from Application Insights"
    if patient.source.kind != "deployed app":
        return
    for variable in _NOT_ON_FLEX:
        if variable in patient.environ:
            yield variable, "is not for the Flex Consumption plan"
    if patient.environ.get(_HOST):
        yield _HOST, "holds a key: the host's storage is for the managed identity"


def _missing(patient: Patient) -> Iterator[str]:
    """What must be set, as the command writes it."""
    environ, identity = patient.environ, patient.environ.get("AZURE_CLIENT_ID", "")
    if not (environ.get(f"{_HOST}__accountName") or all(environ.get(variable) for variable in _HOST_SERVICES)):
        yield f"{_HOST}__accountName=…"
    for connection in (_HOST, "STATE_STORAGE"):
        if environ.get(f"{connection}__credential") != "managedidentity":
            yield f"{connection}__credential=managedidentity"
        if identity and not environ.get(f"{connection}__clientId"):
            yield f"{connection}__clientId={identity}"
    if environ.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") != BODY_LIMIT:
        yield f"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT={BODY_LIMIT}"


async def limits(patient: Patient) -> Finding:
    """Whether the limits fit each other, and the plan that the app runs on."""
    name, read = "limits", patient.settings
    problems = dict(_unfit(read))
    if patient.source.kind == "deployed app":
        try:
            plan = await az("functionapp", "scale", "config", "show", *_of(patient))
            problems |= dict(_unlike(read, plan))
        except (AzureCliFailed, LookupError, TypeError, ValueError):
            if not problems:
                return skipped(
                    name, "what the plan scales to cannot be read", f"az functionapp scale config show {patient.app}"
                )
    if not problems:
        return ok(name, f"{read.limit_per_minute} a minute, {read.limit_per_day} a day, {read.max_instances} instances")
    causes = [f"{pair.partition('=')[0]} {why}" for pair, why in problems.items()]
    return failed(name, f"{len(problems)} wrong", "; ".join(causes), patient.set_command(*problems))


def _unfit(read: Settings) -> Iterator[tuple[str, str]]:
    """The setting that mends it, and what is wrong with the one there is."""
    if read.limit_per_day < read.limit_burst:
        yield f"LIMIT_PER_DAY={read.limit_burst * 10}", "is less than LIMIT_BURST, so that nobody may use the burst"
    if read.app_calls_per_minute > FABRIC_CALLS_PER_MINUTE:
        yield (
            "APP_CALLS_PER_MINUTE=100",
            f"is more than the {FABRIC_CALLS_PER_MINUTE} that Fabric lets one identity make",
        )


def _unlike(read: Settings, plan: Any) -> Iterator[tuple[str, str]]:
    most = int(plan["maximumInstanceCount"])
    at_once = int(((plan.get("triggers") or {}).get("http") or {}).get("perInstanceConcurrency") or 1)
    if read.max_instances != most:
        yield f"MAX_INSTANCES={most}", f"is {read.max_instances}, but the plan scales to {most}"
    if read.instance_concurrency != at_once:
        yield (
            f"INSTANCE_CONCURRENCY={at_once}",
            f"is {read.instance_concurrency}, but an instance is given {at_once} at once",
        )


def _of(patient: Patient) -> tuple[str, ...]:
    return ("--name", patient.source.app, "--resource-group", patient.source.resource_group)
